// The licences of what is bundled.
import { describe, expect, it } from "vitest";
import { inlined, licenceOf, packageOf } from "../notices";

const modules = new URL("../node_modules/", import.meta.url).pathname;

describe("notices", () => {
  it("knows the package of a module, and leaves out our own", () => {
    expect(packageOf(`${modules}preact/jsx-runtime/dist/jsxRuntime.mjs`)).toMatchObject({ name: "preact", license: "MIT" });
    expect(packageOf(`${modules}@niivue/niivue/build/niivue/index.js`)?.name).toBe("@niivue/niivue");
    expect(packageOf("\0vite/preload-helper.js")?.name).toBe("vite");
    expect(packageOf(new URL("../src/main.tsx", import.meta.url).pathname)).toBeUndefined();
  });

  it("has the text of every package that the page is built from, also of one that ships none", () => {
    for (const [name, text] of [["preact", "MIT License"], ["@niivue/niivue", "Copyright (c) 2021, Niivue"]]) {
      expect(licenceOf(packageOf(`${modules}${name}/index.js`)!)).toContain(text);
    }
  });

  it("keeps a tool's own licence, not those of what it is made of", () => {
    expect(licenceOf(packageOf(`${modules}vite/index.js`)!).length).toBeLessThan(2000);
  });

  it("fails where there is no licence", () => {
    const nameless = { folder: new URL("../src", import.meta.url).pathname, name: "nobody", version: "1", license: "MIT" };
    expect(() => licenceOf(nameless)).toThrow("nobody ships no licence");
  });

  it("finds notices of works that were copied into a script", () => {
    expect(inlined("/* Copyright 2011 A */ a(); /* a note */ /*! @license MIT */")).toEqual([
      "/* Copyright 2011 A */",
      "/*! @license MIT */",
    ]);
  });
});
