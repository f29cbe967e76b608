// The sample API behind the gateway: it answers, counts what it served, and echoes what it was sent.
// Run by itself: node tests/support/origin.mjs PORT [HOST].
import { createServer } from 'node:http';
import { pathToFileURL } from 'node:url';

export class Origin {
  constructor({ port = 0, host = '127.0.0.1' } = {}) {
    Object.assign(this, { port, host, served: 0 });
  }

  async start() {
    this.server = createServer((request, response) => this.answer(request, response));
    this.server.keepAliveTimeout = 30_000;
    await new Promise((resolve, reject) => {
      this.server.once('error', reject);
      this.server.listen(this.port, this.host, resolve);
    });
    this.port = this.server.address().port;
    return this;
  }

  answer(request, response) {
    const url = new URL(request.url, 'http://origin');
    if (url.pathname === '/health' || url.pathname === '/served') {
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ served: this.served }));
      return;
    }
    this.served += 1;
    let bytes = 0;
    request.on('data', (chunk) => { bytes += chunk.length; });
    request.on('end', () => {
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ path: url.pathname, subscription: request.headers['octroi-subscription'] ?? null, bytes }));
    });
    request.on('error', () => {});
  }

  async stop() {
    this.server?.closeAllConnections();
    await new Promise((resolve) => (this.server ? this.server.close(resolve) : resolve()));
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const origin = await new Origin({ port: Number(process.argv[2] ?? 9001), host: process.argv[3] }).start();
  console.log(`origin listening on ${origin.host}:${origin.port}`);
  for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0));
}
