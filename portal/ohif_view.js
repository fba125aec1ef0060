// In the place of ndarray's constructors, which make code out of strings: our page's policy forbids that, and masks need them.
  class View {
    constructor(data, shape, stride, offset) {
      this.data = data;
      this.shape = shape;
      this.stride = stride;
      this.offset = offset | 0;
    }
    get dtype() { return dtype; }
    get dimension() { return dimension; }
    get size() { return dimension < 0 ? 0 : this.shape.reduce((all, one) => all * one, 1); }
    get order() { return this.stride.map((_, i) => i).sort((a, b) => Math.abs(this.stride[a]) - Math.abs(this.stride[b])); }
    index(...at) {
      let place = this.offset;
      for (let i = 0; i < dimension; i += 1) place += this.stride[i] * at[i];
      return dimension < 0 ? -1 : place;
    }
    get(...at) { return dtype === "generic" ? this.data.get(this.index(...at)) : this.data[this.index(...at)]; }
    set(...at) {
      const place = this.index(...at);
      return dtype === "generic" ? this.data.set(place, at[dimension]) : (this.data[place] = at[dimension]);
    }
    valueOf() { return dimension === 0 ? this.get() : this; }
    hi(...to) { return new View(this.data, this.shape.map((n, i) => (typeof to[i] === "number" && to[i] >= 0 ? to[i] | 0 : n)), [...this.stride], this.offset); }
    lo(...from) {
      const at = this.shape.map((_, i) => (typeof from[i] === "number" && from[i] >= 0 ? from[i] | 0 : 0));
      return new View(this.data, this.shape.map((n, i) => n - at[i]), [...this.stride], at.reduce((sum, n, i) => sum + n * this.stride[i], this.offset));
    }
    step(...by) {
      let offset = this.offset;
      const [shape, stride] = [[...this.shape], [...this.stride]];
      by.forEach((given, i) => {
        if (typeof given !== "number") return;
        const step = given | 0;
        if (step < 0) offset += stride[i] * (shape[i] - 1);
        shape[i] = Math.ceil(shape[i] / Math.abs(step));
        stride[i] *= step;
      });
      return new View(this.data, shape, stride, offset);
    }
    transpose(...axes) {
      const to = this.shape.map((_, i) => (axes[i] === undefined ? i : axes[i] | 0));
      return new View(this.data, to.map((i) => this.shape[i]), to.map((i) => this.stride[i]), this.offset);
    }
    pick(...at) {
      const kept = this.shape.map((_, i) => i).filter((i) => !(typeof at[i] === "number" && at[i] >= 0));
      const offset = this.shape.reduce((sum, _, i) => (kept.includes(i) ? sum : sum + this.stride[i] * at[i]), this.offset);
      return wrappedNDArrayCtor(this.data, kept.map((i) => this.shape[i]), kept.map((i) => this.stride[i]), offset);
    }
  }
  return (data, shape, stride, offset) => new View(data, shape ? [...shape] : [], stride ? [...stride] : [], offset);
