// In place of decoders for a file format that the server never sends (chunked Zarr): they would double the page's size.
throw new Error("the review page reads NIfTI only");
export {};
