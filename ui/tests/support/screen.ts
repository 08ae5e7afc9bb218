/** What is really on the screen. */
import { inflateSync } from 'node:zlib';
import type { Page } from '@playwright/test';

/** How bright the pixel at a place is painted, 0 for black to 255 for white. */
export async function brightness(page: Page, x: number, y: number): Promise<number> {
  const png = await page.screenshot({ clip: { x, y, width: 1, height: 1 } });
  const parts: Buffer[] = [];
  for (let at = 8; at < png.length; ) {
    const length = png.readUInt32BE(at);
    if (png.toString('latin1', at + 4, at + 8) === 'IDAT') parts.push(png.subarray(at + 8, at + 8 + length));
    at += length + 12;
  }
  // One row of one pixel: a filter byte, which changes nothing here, then the colours.
  const [, red = 0, green = 0, blue = 0] = inflateSync(Buffer.concat(parts));
  return (red + green + blue) / 3;
}
