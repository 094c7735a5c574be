// Mean softmax cross-entropy of rows of scores, the row's own one with an angular margin where there is one.
// A row is cut into lanes, which keep a GPU busy also where a batch has few rows and many classes.

// margined is 0, or 1; easy and detached as in the configuration of ArcFace.
#define RULE                                                                                                    \
  float scale, float smoothing, int margined, int easy, int detached, float cosine, float sine, float beyond

// 1 - cos², kept off 0.
INLINE float square_of_sine(float value) {
  float square = 1.f - value * value;
  return square > 1e-12f ? square : 1e-12f;
}

INLINE float with_margin(float value, int easy, float cosine, float sine, float beyond) {
  float shifted = value * cosine - sqrtf(square_of_sine(value)) * sine;
  if (easy) return value > 0 ? shifted : value;
  return value >= -cosine ? shifted : value - beyond;
}

// How with_margin changes with the value.
INLINE float slope_of_margin(float value, int easy, float cosine, float sine) {
  if (easy ? !(value > 0) : !(value >= -cosine)) return 1.f;
  float square = 1.f - value * value;
  return square > 1e-12f ? cosine + sine * value / sqrtf(square) : cosine;
}

INLINE float score(const float *row, count at, count own, float scale, int margined, int easy, float cosine, float sine,
                   float beyond) {
  float value = row[at];
  if (margined && at == own) value = with_margin(value, easy, cosine, sine, beyond);
  return value * scale;
}

// The highest score of a lane, the sum of exp(score - highest), and that of score - highest: partial [rows, lanes, 3].
KERNEL row_parts(count rows, count classes, count lanes, RULE, const float *scores, const count *labels, float *partial) {
  count at = THREAD;
  if (at >= rows * lanes) return;
  count lane = at % lanes, row = at / lanes, own = labels[row];
  const float *line = scores + row * classes;
  float highest = score(line, lane, own, scale, margined, easy, cosine, sine, beyond), sum = 0, total = 0;
  for (count kind = lane + lanes; kind < classes; kind += lanes) {
    float value = score(line, kind, own, scale, margined, easy, cosine, sine, beyond);
    // what is not a number stays
    highest = value > highest || value != value ? value : highest;
  }
  for (count kind = lane; kind < classes; kind += lanes) {
    float apart = score(line, kind, own, scale, margined, easy, cosine, sine, beyond) - highest;
    sum += expf(apart);
    total += apart;
  }
  partial[at * 3] = highest;
  partial[at * 3 + 1] = sum;
  partial[at * 3 + 2] = total;
  (void)smoothing, (void)detached;
}

// The highest score of each row, log of the sum of exp(score - highest), and the row's loss.
KERNEL row_losses(count rows, count classes, count lanes, RULE, const float *scores, const count *labels,
                  const float *partial, float *highest, float *normalizer, float *losses) {
  count row = THREAD;
  if (row >= rows) return;
  const float *parts = partial + row * lanes * 3;
  float most = parts[0];
  for (count lane = 1; lane < lanes; lane++) {
    float value = parts[lane * 3];
    most = value > most || value != value ? value : most;
  }
  double sum = 0, total = 0;
  for (count lane = 0; lane < lanes; lane++) {
    double apart = (double)parts[lane * 3] - most, many = (double)((classes - lane + lanes - 1) / lanes);
    sum += parts[lane * 3 + 1] * exp(apart);
    total += parts[lane * 3 + 2] + many * apart;
  }
  double own = (double)score(scores + row * classes, labels[row], labels[row], scale, margined, easy, cosine, sine,
                             beyond) - most;
  double wanted = (1. - smoothing) * own + smoothing / (double)classes * total;
  highest[row] = most;
  normalizer[row] = (float)log(sum);
  losses[row] = (float)(log(sum) - wanted);
  (void)detached;
}

// The gradient of the mean loss by the scores that were given.
KERNEL row_back(count rows, count classes, RULE, const float *scores, const count *labels, const float *highest,
                const float *normalizer, float *back) {
  count at = THREAD;
  if (at >= rows * classes) return;
  count row = at / classes, kind = at % classes, own = labels[row];
  const float *line = scores + row * classes;
  float value = score(line, kind, own, scale, margined, easy, cosine, sine, beyond);
  float share = expf(value - highest[row] - normalizer[row]) - smoothing / (float)classes;
  if (kind == own) share -= 1.f - smoothing;
  if (margined && !detached && kind == own) share *= slope_of_margin(line[kind], easy, cosine, sine);
  back[at] = share * scale / (float)rows;
}
