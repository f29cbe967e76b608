// Stands before a node; `watch` is told of each request's methods before and after it is passed on, and may end it (false). `rewrite` may change the
// text of an answer.
import { createServer } from 'node:http';

export class Door {
  constructor(node) {
    this.node = node;
    this.watch = null;
    this.rewrite = (text) => text;
  }

  async start() {
    this.server = createServer((request, response) => this.pass(request, response).catch(() => request.socket.destroy()));
    await new Promise((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    this.url = `http://127.0.0.1:${this.server.address().port}`;
    return this;
  }

  async pass(request, response) {
    const parts = [];
    for await (const part of request) parts.push(part);
    const body = Buffer.concat(parts).toString();
    const methods = [JSON.parse(body)].flat().map(({ method }) => method);
    if ((await this.watch?.('before', methods)) === false) return request.socket.destroy();
    const answer = await (await fetch(this.node, { method: 'POST', headers: { 'content-type': 'application/json' }, body })).text();
    if ((await this.watch?.('after', methods)) === false) return request.socket.destroy();
    response.writeHead(200, { 'content-type': 'application/json' });
    return response.end(this.rewrite(answer));
  }

  stop() {
    this.server?.closeAllConnections();
    this.server?.close();
  }
}
