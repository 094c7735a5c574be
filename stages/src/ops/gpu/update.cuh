// What optimizers do to every weight of a network in one launch. Tensors are cut into pieces of at most PIECE
// numbers; 256 threads share a piece, so that neighbours read neighbouring numbers.

#define PIECE 4096
#define SHARERS 256

// pieces [pieces, 2]: the tensor, and its number where the piece begins. lengths [tensors].
// table [tensors, TABLE]: where weights, gradient, two moments and the bf16 copy lie (0 where there is none),
// and in what order the copy holds the numbers: those of [outputs, inputs, taps] as [outputs, taps, inputs].
#define TABLE 7

// What follows is done for each number `at` of the piece of this thread.
#define EACH                                                                                                    \
  count piece = THREAD / SHARERS;                                                                               \
  if (piece >= pieces) return;                                                                                  \
  count tensor = place[piece * 2], first = place[piece * 2 + 1], length = lengths[tensor];                      \
  count last = length - first < PIECE ? length : first + PIECE;                                                 \
  const address *row = table + tensor * TABLE;                                                                  \
  for (count at = first + THREAD % SHARERS; at < last; at += SHARERS)

// The number of [outputs, inputs, taps] as [outputs, taps, inputs].
INLINE count turned(count at, count inputs, count taps) {
  count tap = at % taps, input = at / taps % inputs;
  return (at / taps / inputs * taps + tap) * inputs + input;
}

INLINE void store_copy(const address *row, count at, float value) {
  bf16 *copy = (bf16 *)row[4];
  if (copy) store_bf16(copy, turned(at, (count)row[5], (count)row[6]), value);
}

KERNEL descend(count pieces, const count *place, const count *lengths, const address *table, const float *decays,
               float momentum, float rate, int nesterov) {
  EACH {
    float *weights = (float *)row[0], *velocity = (float *)row[2];
    float weight = weights[at], change = ((const float *)row[1])[at] + decays[tensor] * weight;
    float speed = momentum * velocity[at] + change;
    velocity[at] = speed;
    weight -= rate * (nesterov ? change + momentum * speed : speed);
    weights[at] = weight;
    store_copy(row, at, weight);
  }
}

KERNEL adapt(count pieces, const count *place, const count *lengths, const address *table, const float *shrinks,
             float keep_mean, float keep_square, float take_mean, float take_square, float rate, float scale,
             float epsilon) {
  EACH {
    float *weights = (float *)row[0], *means = (float *)row[2], *squares = (float *)row[3];
    float change = ((const float *)row[1])[at];
    float mean = keep_mean * means[at] + take_mean * change;
    float square = keep_square * squares[at] + take_square * (change * change);
    means[at] = mean;
    squares[at] = square;
    float weight = shrinks[tensor] * weights[at] - rate * (mean / (sqrtf(square) * scale + epsilon));
    weights[at] = weight;
    store_copy(row, at, weight);
  }
}

// Sums of squares of the gradients over what each thread has of a piece: partial [pieces, SHARERS].
KERNEL squares(count pieces, const count *place, const count *lengths, const address *table, float *partial) {
  float sum = 0;
  count whole = THREAD;
  EACH {
    float change = ((const float *)row[1])[at];
    sum += change * change;
  }
  partial[whole] = sum;
}

// Scales the gradients so that their common norm, whose square is `sum`, is at most `limit`.
KERNEL shorten(count pieces, const count *place, const count *lengths, const address *table, const float *sum,
               float limit) {
  float factor = limit / (sqrtf(sum[0]) + 1e-6f);
  if (!(factor < 1.f)) return;
  EACH ((float *)row[1])[at] *= factor;
}
