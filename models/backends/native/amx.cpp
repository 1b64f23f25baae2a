// A BERT-like encoder in bfloat16 on the matrix unit (AMX) of one CPU, from token ids to vectors: what
// models/backends/packed.py does in torch's operators, in one pass for each group of texts that the core's own cache
// holds, and the heads' scores of each token.  Sums, norms, softmax, GELU and tanh are in float32.
// encoders.py calls it.
//
// A tile of the unit is 16 rows of 64 bytes: 16 x 32 bfloat16 or 16 x 16 float32.
//   "in tiles" [rows, n]   the tiles of 16 x 32 one after the other, row of tiles by row of tiles
//   sums       [rows, n]   float32, likewise in tiles of 16 x 16
//   in columns [rows, n]   columns of 32 numbers one after the other, so that any 16 rows of one are a tile
//   weights    [n, k]      for each 32 of n and each 32 of k two tiles, one for 16 of n: row i of a tile has
//                          weights 2i and 2i + 1 of each of them side by side, as the unit wants it
// (Intel, "Intel 64 and IA-32 Architectures Software Developer's Manual", TDPBF16PS; Vaswani et al. 2017.)

#if defined(__x86_64__) && defined(__linux__)
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

// What runs before the CPU is known stands outside.
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,amx-tile,amx-bf16")
#include "encoder.h"

namespace {
using bf16 = uint16_t;
constexpr int TILE = 16, BLOCK = 32;
constexpr int NUMBERS = TILE * BLOCK, SUMS = TILE * TILE;  // of one tile
constexpr int ROW = 64;                                   // bytes of its rows
// Tokens that go through all layers together, and columns of the wide part at a time: with them what is read
// again and again stays in a cache of 2 MB.
constexpr int GROUP = 512, PART = 384;

// Eight tiles of full size.  The unit's shapes are the thread's, and torch's library keeps its own.
struct alignas(64) Shapes {
    uint8_t palette = 1, start = 0, reserved[14] = {};
    uint16_t bytes[16] = {};
    uint8_t rows[16] = {};
    Shapes() { for (int tile = 0; tile < 8; ++tile) bytes[tile] = 64, rows[tile] = TILE; }
};

// Written out, since a compiler's own intrinsics may not say that all 64 bytes are read and written.
class OwnShapes {
    Shapes before;
public:
    OwnShapes() {
        asm volatile("sttilecfg %0" : "=m"(before));
        const Shapes own;
        asm volatile("ldtilecfg %0" : : "m"(own));
    }
    ~OwnShapes() { asm volatile("ldtilecfg %0" : : "m"(before)); }
};

// Nor that a tile is loaded from memory: what was stored before this is there.
inline void all_is_stored() { asm volatile("" : : : "memory"); }

struct Room {
    Buffer<bf16> x, projected, context, wide, keys, values, shares;
    Buffer<float> sums, scores, over;
};

inline int up_to_block(int count) { return (count + BLOCK - 1) / BLOCK * BLOCK; }

inline __m512 load(const bf16* from) {
    const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

inline void store(bf16* to, __m512 low, __m512 high) {
    _mm512_storeu_si512(to, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

// Where the 32 numbers of a row from `column` on stand in tiles [*, n].
inline int64_t in_tiles(int row, int column, int n) {
    return (int64_t(row / TILE) * (n / BLOCK) + column / BLOCK) * NUMBERS + row % TILE * BLOCK;
}

// Where the 16 numbers of a row from `column` on stand in sums [*, n].
inline float* of_sums(float* sums, int row, int column, int n) {
    return sums + (int64_t(row / TILE) * (n / TILE) + column / TILE) * SUMS + row % TILE * TILE;
}

// Four tiles of float32, a block of 32 x 32, and where they stand; `stride` bytes from row to row, 0: one row
// for all.
template <class T> struct Four { T* at; int64_t right, down, stride; };

// to = from + a b, a block: a [32, 32 steps] in tiles, its lower half `half` further on; b weights.
// After each step `meanwhile(step)` has the vector units, which the matrix unit does not need, and some of
// what comes after b is called for.
template <class Meanwhile>
inline __attribute__((always_inline)) void multiply(
    const bf16* a, int64_t half, const bf16* b, int steps, const bf16* coming, Four<const float> from,
    Four<float> to, Meanwhile&& meanwhile
) {
    all_is_stored();
    _tile_loadd(0, from.at, from.stride);
    _tile_loadd(1, from.at + from.right, from.stride);
    _tile_loadd(2, from.at + from.down, from.stride);
    _tile_loadd(3, from.at + from.down + from.right, from.stride);
#pragma GCC unroll 1
    for (int step = 0; step < steps; ++step) {
        _tile_loadd(6, b, 64);
        _tile_loadd(4, a, 64);
        _tile_loadd(7, b + NUMBERS, 64);
        _tile_loadd(5, a + half, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
        _mm_prefetch(coming, _MM_HINT_T1);
        _mm_prefetch(coming + 32, _MM_HINT_T1);
        a += NUMBERS, b += 2 * NUMBERS, coming += 64;
        meanwhile(step);
    }
    _tile_stored(0, to.at, to.stride);
    _tile_stored(1, to.at + to.right, to.stride);
    _tile_stored(2, to.at + to.down, to.stride);
    _tile_stored(3, to.at + to.down + to.right, to.stride);
}

// a W' + bias, n columns of it from `first` on: a [rows, k] in tiles.  `take(row, column, left, right)` gets
// 32 numbers of a row.  A block's numbers are seen to while the next block is multiplied.
template <class Take>
void product(const bf16* a, int rows, int k, const Product& by, int first, int n, Take take) {
    alignas(64) float blocks[2][4 * SUMS];
    const int steps = k / BLOCK, rows_a_step = (BLOCK + steps - 1) / steps;
    int turn = 0, last_row = -1, last_column = 0;
    auto finish = [&](const float* block, int from, int end) {
        for (int row = from; row < end; ++row) {
            const float* left = block + row / TILE * 2 * SUMS + row % TILE * TILE;
            take(last_row + row, last_column, _mm512_load_ps(left), _mm512_load_ps(left + SUMS));
        }
    };
    for (int column = 0; column < n; column += BLOCK) {
        const bf16* weights =
            static_cast<const bf16*>(by.weights) + int64_t(first + column) / BLOCK * steps * 2 * NUMBERS;
        const bf16* coming = weights + steps * 2 * NUMBERS;
        const Four<const float> bias{by.bias + first + column, TILE, 0, 0};
        for (int row = 0; row < rows; row += BLOCK) {
            const float* before = blocks[1 - turn];
            multiply(a + int64_t(row) * k, int64_t(k) * TILE, weights, steps, coming, bias,
                     Four<float>{blocks[turn], SUMS, 2 * SUMS, 64}, [&](int step) {
                         if (last_row >= 0)
                             finish(before, step * rows_a_step, std::min(BLOCK, (step + 1) * rows_a_step));
                     });
            coming += steps * 64;
            last_row = row, last_column = column, turn = 1 - turn;
        }
    }
    finish(blocks[1 - turn], 0, BLOCK);
}

// sums [rows, n] += a W': a [rows, k] in tiles, the columns from `first` on of the weights [n, all].
void accumulate(const bf16* a, int rows, int k, const Product& by, int first, int all, int n, float* sums) {
    const int steps = k / BLOCK;
    const int64_t panel = int64_t(all) / BLOCK * 2 * NUMBERS, down = int64_t(n) * TILE;
    for (int column = 0; column < n; column += BLOCK) {
        const bf16* weights =
            static_cast<const bf16*>(by.weights) + column / BLOCK * panel + first / BLOCK * 2 * NUMBERS;
        const bf16* coming = weights + panel;
        for (int row = 0; row < rows; row += BLOCK) {
            float* block = of_sums(sums, row, column, n);
            const Four<const float> from{block, SUMS, down, 64};
            const Four<float> to{block, SUMS, down, 64};
            multiply(a + int64_t(row) * k, int64_t(k) * TILE, weights, steps, coming, from, to, [](int) {});
            coming += steps * 64;
        }
    }
}

// x = the layer norm of each row of sums: x [rows, n] in tiles.  In sums stands then what the next product is
// added to: the same and that product's bias.  (Ba et al. 2016.)
void normalise(float* sums, const Norm& by, const float* bias, float eps, int rows, int n, bf16* x) {
    for (int row = 0; row < rows; ++row) {
        float* own = of_sums(sums, row, 0, n);
        const Moments all = moments(own, SUMS, n, eps);
        auto normal = [&](int at) {
            const __m512 from_mean = _mm512_sub_ps(_mm512_load_ps(own + at * TILE), all.mean);
            const __m512 off = _mm512_mul_ps(from_mean, all.scale);
            const __m512 weight = _mm512_loadu_ps(by.weight + at);
            const __m512 found = _mm512_fmadd_ps(off, weight, _mm512_loadu_ps(by.bias + at));
            _mm512_store_ps(own + at * TILE, _mm512_add_ps(found, _mm512_loadu_ps(bias + at)));
            return found;
        };
        for (int at = 0; at < n; at += BLOCK) store(x + in_tiles(row, at, n), normal(at), normal(at + TILE));
    }
}

// Two tiles, the right side of a product with 32 rows of 32 numbers; from row `rows` on there is nothing.
inline void pair_up(const bf16* from, int rows, bf16* to) {
    auto half = [=](int row, int column) {
        if (row >= rows) return _mm512_setzero_si512();
        return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)(from + row * BLOCK + column)));
    };
    for (int column = 0; column < BLOCK; column += TILE)
        for (int row = 0; row < BLOCK; row += 2) {
            const __m512i upper = _mm512_slli_epi32(half(row + 1, column), 16);
            const __m512i both = _mm512_or_si512(half(row, column), upper);
            _mm512_store_si512(to + column / TILE * NUMBERS + row * TILE, both);
        }
}

// shares = 2^(scale (score - the highest)) for so many keys, 0 up to a whole block.  Returns 1 / their sum.
inline float softmax(const float* scores, int keys, __m512 scale, bf16* shares) {
    const int whole = keys / BLOCK * BLOCK;
    const __mmask16 left = first_of(keys - whole), right = first_of(keys - whole - TILE);
    __m512 highest = _mm512_set1_ps(-INFINITY), sum = _mm512_setzero_ps();
    for (int at = 0; at < whole; at += TILE) highest = _mm512_max_ps(highest, _mm512_load_ps(scores + at));
    const float *one = scores + whole, *two = one + TILE;
    highest = _mm512_mask_max_ps(highest, left, highest, _mm512_maskz_loadu_ps(left, one));
    highest = _mm512_mask_max_ps(highest, right, highest, _mm512_maskz_loadu_ps(right, two));
    highest = _mm512_set1_ps(_mm512_reduce_max_ps(highest));
    auto share = [&](int at) {
        return power_of_two(_mm512_mul_ps(_mm512_sub_ps(_mm512_load_ps(scores + at), highest), scale));
    };
    auto add = [&](int at, __m512 one, __m512 two) {
        sum = _mm512_add_ps(sum, _mm512_add_ps(one, two));
        store(shares + at, one, two);
    };
    for (int at = 0; at < whole; at += BLOCK) add(at, share(at), share(at + TILE));
    if (whole < keys)
        add(whole, _mm512_maskz_mov_ps(left, share(whole)), _mm512_maskz_mov_ps(right, share(whole + TILE)));
    return 1.0f / _mm512_reduce_add_ps(sum);
}

// to = a b: 16 rows of a and 32 columns of b, over so many steps of 32.
inline void multiply_rows(
    const bf16* a, int64_t a_stride, int64_t a_step, const bf16* b, int64_t b_step, int steps, float* to,
    int64_t to_stride
) {
    all_is_stored();
    _tile_zero(0);
    _tile_zero(1);
    for (int step = 0; step < steps; ++step, a += a_step, b += b_step) {
        _tile_loadd(4, a, a_stride * sizeof(bf16));
        _tile_loadd(6, b, 64);
        _tile_loadd(7, b + NUMBERS, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
    }
    _tile_stored(0, to, to_stride * sizeof(float));
    _tile_stored(1, to + TILE, to_stride * sizeof(float));
}

// Attention within one text, `tokens` rows from `first` on: projected [rows, 3 h] in columns, queries, then
// keys, then values; context [*, h] in tiles.  16 queries at a time, all heads side by side in each step,
// since one head's steps wait for each other.
void attend(
    const bf16* projected, int64_t rows, int first, int tokens, int h, int d, bf16* context, Room& room
) {
    const int padded = up_to_block(tokens), parts = h / BLOCK, parts_a_head = d / BLOCK, heads = h / d;
    const int64_t column = rows * BLOCK, part_of_keys = int64_t(padded) * BLOCK;
    const int64_t head_of_scores = int64_t(TILE) * padded;
    const bf16* query = projected + int64_t(first) * BLOCK;
    const bf16 *key = query + parts * column, *value = key + parts * column;
    bf16* keys = room.keys.of(parts * part_of_keys);
    bf16* values = room.values.of(parts * part_of_keys);
    bf16* shares = room.shares.of(heads * head_of_scores);
    float* scores = room.scores.of(std::max(heads * head_of_scores, int64_t(parts) * NUMBERS));
    float* over = room.over.of(heads * TILE);
    for (int part = 0; part < parts; ++part)
        for (int at = 0; at < padded * BLOCK; at += BLOCK * BLOCK) {
            const int64_t from = part * column + at, to = part * part_of_keys + at;
            turn_round(key + from, ROW, keys + to, ROW);
            turn_round(key + from + NUMBERS, ROW, keys + to + NUMBERS, ROW);
            pair_up(value + from, tokens - at / BLOCK, values + to);
        }
    const __m512 scale = _mm512_set1_ps(float(M_LOG2E) / std::sqrt(float(d)));
    for (int row = 0; row < tokens; row += TILE) {
        const int here = std::min(TILE, tokens - row);
        for (int head = 0; head < heads; ++head)
            for (int at = 0; at < padded; at += BLOCK) {
                const int64_t part = head * parts_a_head;
                multiply_rows(query + part * column + row * BLOCK, BLOCK, column,
                              keys + part * part_of_keys + at * BLOCK, part_of_keys, parts_a_head,
                              scores + head * head_of_scores + at, padded);
            }
        for (int head = 0; head < heads; ++head)
            for (int at = 0; at < here; ++at) {
                const int64_t own = head * head_of_scores + at * padded;
                over[head * TILE + at] = softmax(scores + own, tokens, scale, shares + own);
            }
        for (int part = 0; part < parts; ++part)
            multiply_rows(shares + part / parts_a_head * head_of_scores, padded, BLOCK,
                          values + part * part_of_keys, BLOCK * BLOCK, padded / BLOCK,
                          scores + part * NUMBERS, BLOCK);
        for (int part = 0; part < parts; ++part)
            for (int at = 0; at < here; ++at) {
                const float* own = scores + part * NUMBERS + at * BLOCK;
                const __m512 by = _mm512_set1_ps(over[part / parts_a_head * TILE + at]);
                bf16* to = context + in_tiles(first + row + at, part * BLOCK, h);
                store(to, _mm512_mul_ps(by, _mm512_load_ps(own)), _mm512_mul_ps(by, _mm512_load_ps(own + TILE)));
            }
    }
}

// All layers over a few texts; `out` [tokens, hidden] and `scores` [tokens, scorers] are of all texts.
void run(const Model& model, const Texts& texts, bf16* out, float* scores, Room& room) {
    const int h = model.hidden, wide = model.wide, d = h / model.heads;
    const int start = texts.bounds[0], tokens = texts.bounds[texts.count] - start, rows = up_to_block(tokens);
    if (!tokens) return;
    // Attention looks at whole blocks from any token on.
    const int64_t all_rows = rows + BLOCK;
    bf16* x = room.x.of(int64_t(rows) * h);
    bf16* projected = room.projected.of(all_rows * 3 * h);
    bf16* context = room.context.of(int64_t(rows) * h);
    bf16* part = room.wide.of(int64_t(rows) * PART);
    float* sums = room.sums.of(int64_t(rows) * h);
    for (int row = 0; row < tokens; ++row) {
        const bf16* word = static_cast<const bf16*>(model.words) + texts.ids[start + row] * h;
        const bf16* position = static_cast<const bf16*>(model.positions) + texts.positions[start + row] * h;
        for (int at = 0; at < h; at += TILE)
            _mm512_store_ps(of_sums(sums, row, at, h), _mm512_add_ps(load(word + at), load(position + at)));
    }
    normalise(sums, model.norm, model.layer->gather.bias, model.eps, rows, h, x);
    for (const Layer* layer = model.layer; layer < model.layer + model.layers; ++layer) {
        const Layer* next = layer + 1 < model.layer + model.layers ? layer + 1 : layer;
        product(x, rows, h, layer->project, 0, 3 * h, [=](int row, int column, __m512 left, __m512 right) {
            store(projected + (column / BLOCK * all_rows + row) * BLOCK, left, right);
        });
        for (int text = 0; text < texts.count; ++text) {
            const int32_t* bounds = texts.bounds + text;
            attend(projected, all_rows, bounds[0] - start, bounds[1] - bounds[0], h, d, context, room);
        }
        accumulate(context, rows, h, layer->gather, 0, h, h, sums);
        normalise(sums, layer->norm, layer->narrow.bias, model.eps, rows, h, x);
        for (int first = 0; first < wide; first += PART) {
            const int count = std::min(PART, wide - first);
            const auto widened = [=](int row, int column, __m512 left, __m512 right) {
                store(part + in_tiles(row, column, count), gelu(left), gelu(right));
            };
            product(x, rows, h, layer->widen, first, count, widened);
            accumulate(part, rows, count, layer->narrow, first, wide, h, sums);
        }
        normalise(sums, layer->last_norm, next->gather.bias, model.eps, rows, h, x);
    }
    for (int at = 0; at < model.scorers; ++at) {
        const Scorer& scorer = model.scorer[at];
        std::memset(sums, 0, int64_t(rows) * TILE * sizeof(float));
        product(x, rows, h, scorer.key, 0, h, [=](int row, int column, __m512 left, __m512 right) {
            const __m512 before = _mm512_load_ps(sums + row * TILE);
            const __m512 more = _mm512_fmadd_ps(tanh(left), _mm512_loadu_ps(scorer.query + column), before);
            const float* query = scorer.query + column + TILE;
            _mm512_store_ps(sums + row * TILE, _mm512_fmadd_ps(tanh(right), _mm512_loadu_ps(query), more));
        });
        for (int row = 0; row < tokens; ++row)
            scores[(start + row) * model.scorers + at] =
                _mm512_reduce_add_ps(_mm512_load_ps(sums + row * TILE));
    }
    for (int row = 0; row < tokens; ++row)
        for (int at = 0; at < h; at += BLOCK)
            std::memcpy(out + int64_t(start + row) * h + at, x + in_tiles(row, at, h), BLOCK * sizeof(bf16));
}

}  // namespace

// Vectors [tokens, hidden] and scores [tokens, scorers] of texts laid end to end, by so many threads.
// Returns 0, or 1 without memory.
// The caller has seen to it that hidden, wide and hidden / heads are multiples of 32, and that there is a row
// for each id and position.
extern "C" int amx_encode(
    const Model* model, const int64_t* ids, const int64_t* positions, const int32_t* bounds, int count,
    bf16* out, float* scores, int threads
) {
    return by_threads<Room, OwnShapes>(
        {ids, positions, bounds, count}, GROUP, threads,
        [=](const Texts& texts, Room& room) { run(*model, texts, out, scores, room); });
}
#pragma GCC pop_options

// INTERFACE; 0 where the CPU has no such unit or the system does not let us use it.
extern "C" int amx_ready() {
    constexpr int REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;
    const bool ready = __builtin_cpu_supports("amx-bf16") && __builtin_cpu_supports("avx512bf16") &&
                       __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                       __builtin_cpu_supports("avx512dq") &&
                       syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
    return ready ? INTERFACE : 0;
}
#else
extern "C" int amx_ready() { return 0; }
#endif
