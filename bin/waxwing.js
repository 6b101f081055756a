#!/usr/bin/env node
import { main } from '../dist/src/server/admin/cli.js';

process.exitCode = await main(process.argv.slice(2));
