// Bytes to gzip and back, by the browser itself.

export async function gzip(bytes: Uint8Array): Promise<ArrayBuffer> {
  return through(bytes, new CompressionStream("gzip"));
}

export async function gunzip(bytes: ArrayBuffer): Promise<Uint8Array> {
  return new Uint8Array(await through(new Uint8Array(bytes), new DecompressionStream("gzip")));
}

function through(bytes: Uint8Array, stream: CompressionStream | DecompressionStream): Promise<ArrayBuffer> {
  const source = new Blob([bytes as BlobPart]).stream() as ReadableStream<BufferSource>;
  return new Response(source.pipeThrough(stream as ReadableWritablePair<Uint8Array, BufferSource>) as BodyInit).arrayBuffer();
}
