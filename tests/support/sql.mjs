// A session of psql that stays: for tests that ask hundreds of times a second, or hold a transaction open.
import { spawn } from 'node:child_process';

export class Sql {
  constructor(postgres, { database = 'octroi' } = {}) {
    this.waiting = [];
    this.text = '';
    this.errors = '';
    this.marks = 0;
    this.child = spawn('psql', ['-X', '-q', '-A', '-t', '-h', '127.0.0.1', '-p', String(postgres.port), '-U', 'postgres', '-d', database], {
      env: { ...process.env, PGPASSWORD: postgres.password },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.child.stdin.on('error', () => {});
    this.child.stderr.on('data', (data) => { this.errors = (this.errors + data).slice(-4000); });
    this.child.stdout.setEncoding('utf8');
    this.child.stdout.on('data', (data) => this.read(data));
    this.child.once('exit', () => {
      this.ended = true;
      for (const { reject } of this.waiting.splice(0)) reject(new Error(`psql ended: ${this.errors}`));
    });
  }

  read(data) {
    this.text += data;
    while (this.waiting.length) {
      const [{ mark, resolve }] = this.waiting;
      const end = this.text.indexOf(mark);
      if (end < 0) return;
      const answer = this.text.slice(0, end);
      this.text = this.text.slice(end + mark.length + 1);
      this.waiting.shift();
      resolve(answer.trim());
    }
  }

  // What psql prints; an error leaves it empty and stands in `errors`.
  run(statement) {
    if (this.ended) return Promise.reject(new Error(`psql ended: ${this.errors}`));
    this.marks += 1;
    const mark = `--mark ${this.marks}--`;
    return new Promise((resolve, reject) => {
      this.waiting.push({ mark, resolve, reject });
      this.child.stdin.write(`${statement};\n\\echo ${mark}\n`);
    });
  }

  async json(expression) {
    const text = await this.run(`select ${expression}`);
    if (text === '') throw new Error(`psql: ${this.errors}`);
    return JSON.parse(text);
  }

  async rows(query) {
    return this.json(`coalesce(json_agg(t), '[]') from (${query}) t`);
  }

  close() {
    this.child.stdin.end('\\q\n');
  }
}
