// Training images: decoded bytes to pictures, what the augmentations drew for each, and the normalized batch.
// Pictures are [images, height, width, 3] of f32 in 0..=1. Of the changes an image has WORDS words of 64 bits, the
// first of which is 0 where there is none; every formula is that of the CPU's augmentations.

#define WORDS 8
#define BATCH count images, count height, count width, const address *changes

INLINE float float_of(address word) {
  union { unsigned bits; float value; } whole;
  whole.bits = (unsigned)word;
  return whole.value;
}

INLINE double double_of(address word) {
  union { address bits; double value; } whole;
  whole.bits = word;
  return whole.value;
}

INLINE float held(float value) { return value < 0.f ? 0.f : value > 1.f ? 1.f : value; }

// Planes [3, height, width] of bytes, each image's at its own address, to pictures.
KERNEL decode(count images, count height, count width, const address *places, float *pictures) {
  count at = THREAD, area = height * width;
  if (at >= images * area) return;
  const byte *planes = (const byte *)places[at / area];
  for (count channel = 0; channel < 3; channel++)
    pictures[at * 3 + channel] = (float)planes[channel * area + at % area] / 255.f;
}

// Copies a pixel where there is nothing to be done.
#define PIXEL                                                                                                   \
  count at = THREAD, area = height * width;                                                                     \
  if (at >= images * area) return;                                                                              \
  const address *change = changes + at / area * WORDS;                                                          \
  const float *picture = from + at / area * area * 3;                                                           \
  float *pixel = to + at * 3;                                                                                   \
  if (!change[0]) {                                                                                             \
    for (count channel = 0; channel < 3; channel++) pixel[channel] = from[at * 3 + channel];                    \
    return;                                                                                                     \
  }

// Where that is.
#define PIXEL_AND_PLACE PIXEL count row = at % area / width, column = at % width;

KERNEL mirror(BATCH, const float *from, float *to) {
  PIXEL_AND_PLACE
  count other = row * width + width - 1 - column;
  for (count channel = 0; channel < 3; channel++) pixel[channel] = picture[other * 3 + channel];
}

// Where a row or column comes from: two neighbours, and the share of the second.
INLINE count mixed(count position, count length, count size, count *second, float *share) {
  double place = ((double)position + 0.5) * ((double)length / (double)size) - 0.5;
  if (place < 0) place = 0;
  count first = (count)place < length - 1 ? (count)place : length - 1;
  *second = first + 1 < length - 1 ? first + 1 : length - 1;
  *share = (float)(place - (double)first);
  return first;
}

// words: 1, top, left, height and width of the part that becomes the whole.
KERNEL stretch(BATCH, const float *from, float *to) {
  PIXEL_AND_PLACE
  count below, beside;
  float down, right;
  count above = mixed(row, (count)change[3], height, &below, &down);
  count left = mixed(column, (count)change[4], width, &beside, &right);
  const float *part = picture + ((count)change[1] * width + (count)change[2]) * 3;
  for (count channel = 0; channel < 3; channel++) {
    float a = part[(above * width + left) * 3 + channel], b = part[(below * width + left) * 3 + channel];
    float c = part[(above * width + beside) * 3 + channel], d = part[(below * width + beside) * 3 + channel];
    float first = a + down * (b - a), second = c + down * (d - c);
    pixel[channel] = held(first + right * (second - first));
  }
}

// A place with 32 binary digits after the point.
INLINE long long fixed(double place) { return llround(place * 4294967296.0); }

INLINE float seen(const float *picture, count height, count width, long long row, long long column, count channel,
                  float fill) {
  if (row < 0 || row >= (long long)height || column < 0 || column >= (long long)width) return fill;
  return picture[((count)row * width + (count)column) * 3 + channel];
}

// words: 1, sine and cosine of the angle as f64, the grey of what is outside.
KERNEL turn(BATCH, const float *from, float *to) {
  PIXEL_AND_PLACE
  double sine = double_of(change[1]), cosine = double_of(change[2]);
  float fill = float_of(change[3]);
  double middle_x = ((double)width - 1.0) / 2.0, middle_y = ((double)height - 1.0) / 2.0;
  double apart = (double)row - middle_y;
  long long x = fixed(middle_x - sine * apart - cosine * middle_x) + (long long)column * fixed(cosine);
  long long y = fixed(middle_y + cosine * apart - sine * middle_x) + (long long)column * fixed(sine);
  long long left = x >> 32, top = y >> 32;
  float right = (float)((unsigned)x >> 8) / 16777216.f, down = (float)((unsigned)y >> 8) / 16777216.f;
  for (count channel = 0; channel < 3; channel++) {
    float a = seen(picture, height, width, top, left, channel, fill);
    float b = seen(picture, height, width, top, left + 1, channel, fill);
    float c = seen(picture, height, width, top + 1, left, channel, fill);
    float d = seen(picture, height, width, top + 1, left + 1, channel, fill);
    float upper = a + right * (b - a), lower = c + right * (d - c);
    pixel[channel] = held(upper + down * (lower - upper));
  }
}

INLINE float grey_of(const float *pixel) { return 0.2989f * pixel[0] + 0.587f * pixel[1] + 0.114f * pixel[2]; }

INLINE float around(float sixths) { return sixths < 0.f ? sixths + 6.f : sixths >= 6.f ? sixths - 6.f : sixths; }

INLINE void shift_hue(float *pixel, float shift) {
  float red = pixel[0], green = pixel[1], blue = pixel[2];
  float highest = red > green ? red : green, lowest = red < green ? red : green;
  highest = highest > blue ? highest : blue;
  lowest = lowest < blue ? lowest : blue;
  float range = highest - lowest, scale = range > 0.f ? 1.f / range : 0.f, sixths;
  if (highest == red)
    sixths = (green - blue) * scale;
  else if (highest == green)
    sixths = 2.f + (blue - red) * scale;
  else
    sixths = 4.f + (red - green) * scale;
  float turned_by = around(sixths + 6.f * shift);
  for (int channel = 0; channel < 3; channel++) {
    float distance = around(turned_by + (float)(5 - 2 * channel));
    pixel[channel] = held(highest - range * held(distance < 4.f - distance ? distance : 4.f - distance));
  }
}

// Changes a pixel by what comes first, up to the step `last`, or all; `mean` is what contrast turns about.
// words: 1, the order in bytes (4 for what there is not), factors of brightness, contrast and saturation, the turn
// of the hue.
INLINE void recoloured(float *pixel, const address *change, int last, float mean) {
  for (int step = 0; step < last; step++) {
    int part = (int)(change[1] >> (8 * step) & 0xff);
    if (part == 3) shift_hue(pixel, float_of(change[5]));
    if (part > 2) continue;
    float factor = float_of(change[2 + part]), other = part == 1 ? mean : part == 2 ? grey_of(pixel) : 0.f;
    for (int channel = 0; channel < 3; channel++)
      pixel[channel] = part ? held(factor * pixel[channel] + (1.f - factor) * other) : held(pixel[channel] * factor);
  }
}

// Sums over the pixels of a lane of the grey before contrast: partial [images, lanes].
KERNEL greys(BATCH, count lanes, const float *from, float *partial) {
  count at = THREAD, area = height * width;
  if (at >= images * lanes) return;
  const address *change = changes + at / lanes * WORDS;
  int last = 0;
  while (last < 4 && (change[1] >> (8 * last) & 0xff) != 1) last++;
  double sum = 0;
  for (count place = at % lanes; change[0] && last < 4 && place < area; place += lanes) {
    float pixel[3];
    for (int channel = 0; channel < 3; channel++) pixel[channel] = from[(at / lanes * area + place) * 3 + (count)channel];
    recoloured(pixel, change, last, 0.f);
    sum += grey_of(pixel);
  }
  partial[at] = (float)sum;
}

KERNEL mean_greys(count images, count lanes, count area, const float *partial, float *means) {
  count image = THREAD;
  if (image >= images) return;
  double sum = 0;
  for (count lane = 0; lane < lanes; lane++) sum += partial[image * lanes + lane];
  means[image] = (float)(sum / (double)area);
}

KERNEL recolour(BATCH, const float *means, const float *from, float *to) {
  PIXEL
  float colour[3];
  for (int channel = 0; channel < 3; channel++) colour[channel] = picture[at % area * 3 + (count)channel];
  recoloured(colour, change, 4, means[at / area]);
  for (int channel = 0; channel < 3; channel++) pixel[channel] = colour[channel];
}

// words: 1 for a grey and 2 for noise, top, left, height and width of what is covered, the grey or where in the
// noise its bytes begin.
KERNEL cover(BATCH, const byte *noise, const float *from, float *to) {
  PIXEL_AND_PLACE
  count down = row - (count)change[1], right = column - (count)change[2];
  int covered = row >= (count)change[1] && down < (count)change[3] && column >= (count)change[2] &&
                right < (count)change[4];
  for (count channel = 0; channel < 3; channel++) {
    float value = picture[at % area * 3 + channel];
    if (covered && change[0] == 1) value = float_of(change[5]);
    if (covered && change[0] == 2)
      value = (float)noise[change[5] + (down * (count)change[4] + right) * 3 + channel] / 255.f;
    pixel[channel] = value;
  }
}

#define NORMALIZED(TYPE)                                                                                        \
  /* (x - mean) * scale of each channel; channels: three means, then three scales. */                           \
  KERNEL normalized_##TYPE(count all, const float *channels, const float *pictures, TYPE *batch) {              \
    count at = THREAD;                                                                                          \
    if (at >= all) return;                                                                                      \
    store_##TYPE(batch, at, (pictures[at] - channels[at % 3]) * channels[3 + at % 3]);                          \
  }
NORMALIZED(f32)
NORMALIZED(bf16)
