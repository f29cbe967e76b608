// What the kernel knows about a process: CPU time, memory, and how much of the CPU it asked for.
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';

const tick = 1e6 / Number(execFileSync('getconf', ['CLK_TCK']));

// utime + stime of all threads, in microseconds.
export function cpuMicroseconds(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) * tick;
}

// Time on a CPU and time spent waiting for one, in microseconds: together, what it would have used of a core of its own.
export function demandMicroseconds(pid) {
  let sum = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    const [ran, waited] = readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ');
    sum += (Number(ran) + Number(waited)) / 1000;
  }
  return sum;
}

const kib = (pid, name) => Number(readFileSync(`/proc/${pid}/status`, 'utf8').match(new RegExp(`${name}:\\s+(\\d+)`))[1]);
export const rssKib = (pid) => kib(pid, 'VmRSS');
export const peakKib = (pid) => kib(pid, 'VmHWM');
export const resetPeak = (pid) => writeFileSync(`/proc/${pid}/clear_refs`, '5');
