// js-ipfs depends on packages that use Promise.withResolvers, which Node has since version 22 only.
Promise.withResolvers ??= function withResolvers() {
  const parts = {};
  parts.promise = new this((resolve, reject) => Object.assign(parts, { resolve, reject }));
  return parts;
};
