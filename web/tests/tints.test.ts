import { describe, expect, test } from "vitest";
import { ofLabels, ofShare, ofWindow, over, rgba } from "../src/view/tints";
import { randomOf } from "./random";

const GREY = Uint8ClampedArray.from({ length: 1024 }, (_, n) => (n % 4 === 3 ? Math.floor(n / 8) : Math.floor(n / 4)));

function channels(colour: number): number[] {
  return [...new Uint8Array(Uint32Array.of(colour).buffer)];
}

describe("colours are the bytes of a texture", () => {
  test("red is the first byte, the opacity the last", () => {
    expect(channels(rgba(1, 2, 3, 255))).toEqual([1, 2, 3, 255]);
  });
});

describe("a CT in a window", () => {
  const { lowest, colours } = ofWindow(GREY, -160, 240);
  const grey = (hu: number) => channels(colours[hu - lowest])[0];

  test("is black below it, white above it, and never darker for more HU", () => {
    expect([-32768, -1024, -160].map(grey)).toEqual([0, 0, 0]);
    expect([240, 3071, 32767].map(grey)).toEqual([255, 255, 255]);
    for (let hu = -32767; hu <= 32767; hu++) expect(grey(hu)).toBeGreaterThanOrEqual(grey(hu - 1));
  });

  test("has the grey of its share of the window", () => {
    for (let hu = -160; hu <= 240; hu++) expect(Math.abs(grey(hu) - (255 * (hu + 160)) / 400)).toBeLessThanOrEqual(1);
  });

  test("a window without width cuts in two", () => {
    const cut = ofWindow(GREY, 40, 40);
    expect([40, 41].map((hu) => channels(cut.colours[hu - cut.lowest])[0])).toEqual([0, 255]);
  });
});

describe("overlays", () => {
  test("label 0 and labels without a colour are nothing, others have their colour", () => {
    const { lowest, colours } = ofLabels([[255, 0, 0], [0, 0, 255]], 0.4);
    expect([0, 3, 255].map((label) => colours[label - lowest])).toEqual([0, 0, 0]);
    expect([1, 2].map((label) => channels(colours[label - lowest]))).toEqual([[255, 0, 0, 102], [0, 0, 255, 102]]);
  });

  test("a share up to its least is nothing, above it a colour as dense as asked", () => {
    const { colours } = ofShare(GREY, 25, 255, 0.6);
    for (let value = 0; value <= 255; value++) expect(channels(colours[value])[3]).toBe(value > 25 ? 153 : 0);
  });
});

test("a colour over another is what two layers of glass show on any ground", () => {
  const random = randomOf(5);
  const byte = () => Math.floor(256 * random());
  for (let n = 0; n < 500; n++) {
    const [front, back, ground] = [rgba(byte(), byte(), byte(), byte()), rgba(byte(), byte(), byte(), byte()), byte()];
    const on = (colour: number, below: number[]) => {
      const [r, g, b, a] = channels(colour);
      return [r, g, b].map((x, c) => (x * a) / 255 + below[c] * (1 - a / 255));
    };
    const expected = on(front, on(back, [ground, ground, ground]));
    on(over(front, back), [ground, ground, ground]).forEach((x, c) => expect(Math.abs(x - expected[c])).toBeLessThanOrEqual(2));
  }
});
