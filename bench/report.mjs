// Medians over the rounds, and ratios: of figures that were measured one after the other, so that what else the machine did is in both.
const median = (values) => {
  const sorted = values.filter((value) => Number.isFinite(value)).sort((a, b) => a - b);
  return sorted.length ? (sorted[Math.floor((sorted.length - 1) / 2)] + sorted[Math.ceil((sorted.length - 1) / 2)]) / 2 : NaN;
};

const shown = (value) => (Number.isFinite(value) ? (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)) : '-');

// `rounds`: [{ proxy: figures, nginx: figures, haproxy: figures }]; a server that does not do it is missing.
export function summarize(row, rounds) {
  const metrics = [...new Set(rounds.flatMap((round) => Object.values(round).flatMap((figures) => Object.keys(figures))))];
  return metrics.map((metric) => {
    const of = (server) => median(rounds.map((round) => round[server]?.[metric]));
    const ratio = (server) => median(rounds.map((round) => round.proxy?.[metric] / round[server]?.[metric]));
    const medians = { proxy: of('proxy'), nginx: of('nginx'), haproxy: of('haproxy') };
    const better = !(medians.haproxy < medians.nginx) ? 'nginx' : 'haproxy';
    return { row: row.name, what: row.what, metric, ...medians, 'proxy/nginx': ratio('nginx'), 'proxy/haproxy': ratio('haproxy'), 'proxy/better': ratio(better) };
  });
}

export const heading = '| what | less is better | proxy | nginx | HAProxy | ÷ nginx | ÷ HAProxy | ÷ better |\n|---|---|---|---|---|---|---|---|';

export const line = (entry) =>
  `| ${entry.what} | ${entry.metric} | ${[entry.proxy, entry.nginx, entry.haproxy, entry['proxy/nginx'], entry['proxy/haproxy'], entry['proxy/better']].map(shown).join(' | ')} |`;
