/** The hardware snapshot as titled facts; what is not known says so. */
import type { Hardware } from '../api/types';
import { bytes } from './format';

export interface Section {
  title: string;
  facts: [string, string][];
}

const unknown = 'not detected';
const words: Record<string, string> = {
  gpu: 'GPU', npu: 'NPU', cpu: 'CPU', wsl: 'WSL', macos: 'macOS', freebsd: 'FreeBSD', linux: 'Linux', windows: 'Windows',
  virtual_machine: 'virtual machine', shared_system: 'shared with the system',
};

function word(value: string | null | undefined): string {
  if (value === null || value === undefined || value === '') return unknown;
  return words[value] ?? value;
}

function joined(...parts: (string | null | undefined)[]): string {
  return parts.filter(Boolean).join(' ') || unknown;
}

function number(value: number | null | undefined): string {
  return value === null || value === undefined ? unknown : String(value);
}

function size(value: number | null | undefined): string {
  return value === null || value === undefined ? unknown : bytes(value);
}

/** Every part may be missing: other gateways and later versions tell other things. */
type Partly<T> = T extends (infer E)[] ? Partly<E>[] : T extends object ? { [K in keyof T]?: Partly<T[K]> } : T;

export function sections(hardware: Partly<Hardware>): Section[] {
  const { operating_system: os, cpu, environment, architecture, memory, accelerators = [] } = hardware;
  return [
    {
      title: 'System',
      facts: [
        ['Operating system', os === undefined ? unknown : joined(word(os.family), os.name, os.version)],
        ['Kernel', os?.kernel ?? unknown],
        ['Architecture', architecture?.name === 'other' ? (architecture.raw_name ?? unknown) : (architecture?.name ?? unknown)],
        ['Environment', environment?.name ?? word(environment?.kind)],
        ['Memory', size(memory?.capacity_bytes)],
      ],
    },
    {
      title: 'CPU',
      facts: [
        ['Model', cpu?.model ?? unknown],
        ['Vendor', cpu?.vendor ?? unknown],
        ['Sockets', number(cpu?.socket_count)],
        ['Cores', number(cpu?.physical_core_count)],
        ['Threads', number(cpu?.logical_thread_count)],
      ],
    },
    ...accelerators.map((accelerator, index) => ({
      title: `${word(accelerator.kind ?? 'accelerator')} ${accelerator.index ?? index}`,
      facts: [
        ['Model', accelerator.model ?? unknown],
        ['Vendor', accelerator.vendor ?? unknown],
        ['Architecture', accelerator.architecture ?? unknown],
        ['Memory', size(accelerator.memory?.capacity_bytes)],
        ['Kind of memory', word(accelerator.memory?.kind)],
        ['Driver', joined(accelerator.driver?.name, accelerator.driver?.version)],
        ['Power limit', typeof accelerator.power_limit_watts === 'number' ? `${accelerator.power_limit_watts} W` : unknown],
      ] as [string, string][],
    })),
    ...(accelerators.length === 0
      ? [{ title: 'Accelerators', facts: [['Found', 'none']] as [string, string][] }]
      : []),
  ];
}

export function hardwareText(hardware: Partly<Hardware>): string {
  return sections(hardware)
    .map(({ title, facts }) => {
      const width = Math.max(...facts.map(([name]) => name.length));
      return `${title}\n${facts.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`).join('\n')}`;
    })
    .join('\n\n');
}
