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

function number(value: number | null): string {
  return value === null ? unknown : String(value);
}

export function sections(hardware: Hardware): Section[] {
  const { operating_system: os, cpu, environment } = hardware;
  return [
    {
      title: 'System',
      facts: [
        ['Operating system', joined(word(os.family), os.name, os.version)],
        ['Kernel', os.kernel ?? unknown],
        ['Architecture', hardware.architecture.name === 'other' ? (hardware.architecture.raw_name ?? unknown) : hardware.architecture.name],
        ['Environment', environment.name ?? word(environment.kind)],
        ['Memory', bytes(hardware.memory.capacity_bytes)],
      ],
    },
    {
      title: 'CPU',
      facts: [
        ['Model', cpu.model ?? unknown],
        ['Vendor', cpu.vendor ?? unknown],
        ['Sockets', number(cpu.socket_count)],
        ['Cores', number(cpu.physical_core_count)],
        ['Threads', number(cpu.logical_thread_count)],
      ],
    },
    ...hardware.accelerators.map((accelerator) => ({
      title: `${word(accelerator.kind)} ${accelerator.index}`,
      facts: [
        ['Model', accelerator.model ?? unknown],
        ['Vendor', accelerator.vendor ?? unknown],
        ['Architecture', accelerator.architecture ?? unknown],
        ['Memory', accelerator.memory.capacity_bytes === null ? unknown : bytes(accelerator.memory.capacity_bytes)],
        ['Kind of memory', word(accelerator.memory.kind)],
        ['Driver', accelerator.driver === null ? unknown : joined(accelerator.driver.name, accelerator.driver.version)],
        ['Power limit', accelerator.power_limit_watts === null ? unknown : `${accelerator.power_limit_watts} W`],
      ] as [string, string][],
    })),
    ...(hardware.accelerators.length === 0
      ? [{ title: 'Accelerators', facts: [['Found', 'none']] as [string, string][] }]
      : []),
  ];
}

export function hardwareText(hardware: Hardware): string {
  return sections(hardware)
    .map(({ title, facts }) => {
      const width = Math.max(...facts.map(([name]) => name.length));
      return `${title}\n${facts.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`).join('\n')}`;
    })
    .join('\n\n');
}
