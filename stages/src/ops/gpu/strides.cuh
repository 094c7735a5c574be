// Every so many-th pixel, as a convolution sees it whose window is one pixel.

// GEOMETRY's padding is 0 here.
#define STRIDES(TAG, TYPE, WIDE)                                                                                \
  /* y [images, rows, columns, channels] of x [images, height, width, channels]. */                             \
  KERNEL gather_##TAG(GEOMETRY, count stride_down, count stride_right, const TYPE *x, TYPE *y) {                \
    const count wide = WIDE;                                                                                    \
    count at = THREAD, vectors = channels / wide;                                                               \
    if (at >= images * rows * columns * vectors) return;                                                        \
    count vector = at % vectors, pixel = at / vectors;                                                          \
    count column = pixel % columns, row = pixel / columns % rows, image = pixel / columns / rows;               \
    count from = (image * height + row * stride_down) * width + column * stride_right;                          \
    float values[WIDE];                                                                                         \
    take_##TAG(x, from * channels + vector * wide, values);                                                     \
    put_##TAG(y, at * wide, values);                                                                            \
    (void)above, (void)left;                                                                                    \
  }                                                                                                             \
                                                                                                                \
  /* The way back: 0 where no pixel was taken, and what else there is (`added`). */                             \
  KERNEL spread_##TAG(GEOMETRY, count stride_down, count stride_right, const TYPE *gradient, int added,         \
                      const TYPE *other, TYPE *back) {                                                          \
    const count wide = WIDE;                                                                                    \
    count at = THREAD, vectors = channels / wide;                                                               \
    if (at >= images * height * width * vectors) return;                                                        \
    count vector = at % vectors, pixel = at / vectors;                                                          \
    count column = pixel % width, line = pixel / width % height, image = pixel / width / height;                \
    count row = line / stride_down, place = column / stride_right;                                              \
    float values[WIDE], more[WIDE];                                                                             \
    EACH_NUMBER values[i] = 0;                                                                                  \
    if (added) take_##TAG(other, at * wide, values);                                                            \
    if (line % stride_down == 0 && column % stride_right == 0 && row < rows && place < columns) {               \
      take_##TAG(gradient, ((image * rows + row) * columns + place) * channels + vector * wide, more);          \
      EACH_NUMBER values[i] += more[i];                                                                         \
    }                                                                                                           \
    put_##TAG(back, at * wide, values);                                                                         \
    (void)above, (void)left;                                                                                    \
  }
EVERY_WAY(STRIDES)
