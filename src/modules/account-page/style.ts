/** The style sheet of the page: a file of its own, so that the policy allows no style in the page itself. */
export const style = `:root{color-scheme:light dark;--text:#222;--back:#fff;--line:#767676;--link:#1d5f85;--button:#2f4858;--label:#fff;--bad:#b3261e;--soft:#f0f4f6}
@media(prefers-color-scheme:dark){:root{--text:#eee;--back:#1b1f22;--line:#9aa4aa;--link:#8cc7e8;--button:#8cc7e8;--label:#10181d;--bad:#ffb4ab;--soft:#262c30}}
*{box-sizing:border-box}
body{font:1.05rem/1.5 system-ui,sans-serif;margin:0;color:var(--text);background:var(--back)}
header,main{max-width:52rem;margin:0 auto;padding:1rem}
.skip{position:absolute;left:-99rem}
.skip:focus{left:1rem;top:1rem;background:var(--back);padding:.5rem}
.who{display:flex;flex-wrap:wrap;gap:1rem;align-items:center;justify-content:space-between;overflow-wrap:anywhere}
nav ul{display:flex;flex-wrap:wrap;gap:.2rem 1rem;list-style:none;margin:0;padding:.6rem 0;border-bottom:1px solid var(--line)}
nav [aria-current]{font-weight:bold;color:var(--text);text-decoration:none}
a{color:var(--link)}
:focus-visible{outline:3px solid var(--link);outline-offset:2px}
label{display:block;margin:.8rem 0 .2rem}
.choice{display:flex;gap:.6rem;align-items:baseline}
.choice label{margin:.8rem 0}
input:not([type=checkbox]){font:inherit;width:100%;max-width:26rem;padding:.4rem;border:1px solid var(--line);border-radius:.3rem;color:inherit;background:var(--back)}
input[aria-invalid]{border:2px solid var(--bad)}
input[readonly]{background:var(--soft)}
button,.button{display:inline-block;font:inherit;padding:.45rem 1rem;border:0;border-radius:.4rem;background:var(--button);color:var(--label);text-decoration:none;cursor:pointer}
.danger{background:#b3261e;color:#fff}
.problem{border-left:.3rem solid var(--bad);padding:.2rem .8rem;background:var(--soft)}
.notice{border-left:.3rem solid var(--link);padding:.2rem .8rem;background:var(--soft)}
.hint,.wrong{margin:.2rem 0}
.wrong{color:var(--bad)}
.table{overflow-x:auto}
table{border-collapse:collapse;width:100%}
caption{text-align:left}
th,td{text-align:left;vertical-align:top;padding:.4rem .6rem .4rem 0;border-bottom:1px solid var(--line);overflow-wrap:anywhere}
thead th{white-space:nowrap}
td form{margin:0}
`;
