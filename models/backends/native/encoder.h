// Shared by the encoders of amx.cpp and int8.cpp: data structures, memory, threads, and element-wise
// functions in float32 on vectors of 16 values.  Each file sets its target CPU and then includes this one.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <thread>
#include <vector>

// The version of the functions and structures that encoders.py uses.
constexpr int INTERFACE = 4;

namespace {
// The structures that encoders.py passes.  Weights [n, k] and embeddings have the number type and layout of
// the encoder that uses them.  Only int8.cpp uses `scale` and `sum`.
struct Product {
    const void* weights;
    const float *bias, *scale, *sum;
    int64_t n, k;
};
struct Norm { const float *weight, *bias; };
struct Layer {
    Product qkv, attention_output, intermediate, output;
    Norm attention_norm, output_norm;
};
struct Scorer { Product key; const float* query; };  // query . tanh(key(x))
struct Model {
    int64_t hidden_size, heads, intermediate_size, layer_count;
    float eps;
    const void *word_embeddings, *position_embeddings;  // [ids, hidden], [positions, hidden]
    // What attention adds to a score, times log2(e), or null: of the first head, for the distance 0 from query
    // to key.  Other distances are beside it, up to BIAS_MARGIN beyond the last position in both directions;
    // the next head is `position_bias_stride` values further.
    const float* position_bias;
    int64_t position_bias_stride;
    Norm embedding_norm;
    const Layer* layers;
    int64_t scorer_count;
    const Scorer* scorers;
};

// The encoders process queries and keys in blocks, which reach beyond the end of a text.
constexpr int BIAS_MARGIN = 32;

// The bias of one query, by key.
inline const float* bias_of(const Model& model, int head, int query) {
    if (!model.position_bias) return nullptr;
    return model.position_bias + head * model.position_bias_stride - query;
}

struct Texts {
    const int64_t *ids, *positions;  // [tokens]
    const int32_t* bounds;           // [texts + 1]: the start of each text, and the end of the last one
    int count;
};

// Memory that is kept and reused.  Growing loses the contents.
template <class T> class Buffer {
    T* data = nullptr;
    size_t size = 0;
public:
    T* reserve(size_t count) {
        if (count > size) {
            std::free(data);
            size = 0;
            const size_t bytes = (count * sizeof(T) + 63) / 64 * 64;
            data = static_cast<T*>(std::aligned_alloc(64, bytes));
            if (!data) throw std::bad_alloc();
            std::memset(data, 0, bytes);
            size = count;
        }
        return data;
    }
    ~Buffer() { std::free(data); }
};

// x Phi(x), with 2 Phi(x) - 1 = x P(x^2) up to |x| = 4.  P is the minimax fit for the error of the whole
// function: 1.9e-4, while a bfloat16 near 1 has steps of 4e-3, and the 255 steps of an 8-bit row are no
// finer.  (Hendrycks and Gimpel 2016.)
inline __m512 gelu(__m512 x) {
    const __m512 clamped = _mm512_max_ps(_mm512_min_ps(x, _mm512_set1_ps(4.0f)), _mm512_set1_ps(-4.0f));
    const __m512 square = _mm512_mul_ps(clamped, clamped);
    __m512 p = _mm512_set1_ps(4.55612449e-08f / 2);
    for (float c : {-3.19712214e-06f, 9.59094247e-05f, -0.00162801557f, 0.0175447035f, -0.129146064f,
                    0.795766588f})
        p = _mm512_fmadd_ps(p, square, _mm512_set1_ps(c / 2));
    return _mm512_mul_ps(x, _mm512_fmadd_ps(clamped, p, _mm512_set1_ps(0.5f)));
}

// 2^x for x <= 0, with a Taylor series for the fraction.  NaN stays NaN.
inline __m512 power_of_two(__m512 x) {
    x = _mm512_max_ps(_mm512_set1_ps(-126.0f), x);
    const __m512 integer = _mm512_roundscale_ps(x, 0), fraction = _mm512_sub_ps(x, integer);
    __m512 p = _mm512_set1_ps(1.3534167e-3f);
    for (float c : {9.6181291e-3f, 5.5503324e-2f, 0.24022651f, 0.69314718f, 1.0f})
        p = _mm512_fmadd_ps(p, fraction, _mm512_set1_ps(c));
    return _mm512_scalef_ps(p, integer);
}

// A vector of scores times `scale`, plus the bias of their keys if there is one.
inline __m512 scale_scores(__m512 scores, __m512 scale, const float* bias) {
    return bias ? _mm512_fmadd_ps(scores, scale, _mm512_loadu_ps(bias)) : _mm512_mul_ps(scores, scale);
}

// (1 - e) / (1 + e) with e = e^(-2 |x|), and the sign of x.  The CPU's reciprocal has an error of 6e-5.
inline __m512 tanh(__m512 x) {
    const __m512 one = _mm512_set1_ps(1.0f);
    const __m512 e = power_of_two(_mm512_mul_ps(_mm512_abs_ps(x), _mm512_set1_ps(-2 * float(M_LOG2E))));
    const __m512 magnitude = _mm512_mul_ps(_mm512_sub_ps(one, e), _mm512_rcp14_ps(_mm512_add_ps(one, e)));
    return _mm512_or_ps(magnitude, _mm512_and_ps(x, _mm512_set1_ps(-0.0f)));
}

// The mean of n values and 1 / their standard deviation.  The values lie in vectors of 16, and each vector
// starts `stride` values after the one before.
struct Moments { __m512 mean, scale; };
inline Moments moments(const float* row, int stride, int n, float eps) {
    __m512 sum = _mm512_setzero_ps(), squares = _mm512_setzero_ps();
    for (int i = 0; i < n; i += 16) sum = _mm512_add_ps(sum, _mm512_load_ps(row + i / 16 * stride));
    const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(sum) / n);
    for (int i = 0; i < n; i += 16) {
        const __m512 deviation = _mm512_sub_ps(_mm512_load_ps(row + i / 16 * stride), mean);
        squares = _mm512_fmadd_ps(deviation, deviation, squares);
    }
    return {mean, _mm512_set1_ps(1.0f / std::sqrt(_mm512_reduce_add_ps(squares) / n + eps))};
}

// A mask for the first `count` lanes.
inline __mmask16 lane_mask(int count) { return count >= 16 ? 0xffff : count > 0 ? (1u << count) - 1 : 0; }

// Transposes 16 x 16 values of 32 bits.  The strides are the bytes from one row to the next.
inline void transpose(const void* from, int64_t from_stride, void* to, int64_t to_stride) {
    __m512i a[16], b[16];
    for (int i = 0; i < 16; ++i) a[i] = _mm512_loadu_si512(static_cast<const char*>(from) + i * from_stride);
    for (int i = 0; i < 16; i += 2) {
        b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
        a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
        a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
        a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
    }
    for (int i = 0; i < 4; ++i) {
        b[i] = _mm512_shuffle_i32x4(a[i], a[4 + i], 0x88);
        b[4 + i] = _mm512_shuffle_i32x4(a[i], a[4 + i], 0xdd);
        b[8 + i] = _mm512_shuffle_i32x4(a[8 + i], a[12 + i], 0x88);
        b[12 + i] = _mm512_shuffle_i32x4(a[8 + i], a[12 + i], 0xdd);
    }
    auto store_row = [=](int row, __m512i values) {
        _mm512_store_si512(static_cast<char*>(to) + row * to_stride, values);
    };
    for (int i = 0; i < 4; ++i) {
        store_row(i, _mm512_shuffle_i32x4(b[i], b[8 + i], 0x88));
        store_row(4 + i, _mm512_shuffle_i32x4(b[4 + i], b[12 + i], 0x88));
        store_row(8 + i, _mm512_shuffle_i32x4(b[i], b[8 + i], 0xdd));
        store_row(12 + i, _mm512_shuffle_i32x4(b[4 + i], b[12 + i], 0xdd));
    }
}

// Groups of neighbouring texts with at most `max_tokens` tokens.  A longer text is a group of its own.
inline std::vector<Texts> group_texts(const Texts& all, int max_tokens) {
    std::vector<Texts> groups;
    for (int first = 0, end; first < all.count; first = end) {
        end = first + 1;
        while (end < all.count && all.bounds[end + 1] - all.bounds[first] <= max_tokens) ++end;
        groups.push_back({all.ids, all.positions, all.bounds + first, end - first});
    }
    return groups;
}

// Calls `run(texts, workspace)` for each group of texts in up to `threads` threads.  Each thread has its own
// workspace, and holds a `Guard` while it runs.  Returns 0, or 1 if there is not enough memory.
template <class Workspace, class Guard, class Run>
int run_in_threads(const Texts& all, int max_tokens, int threads, Run run) try {
    const std::vector<Texts> groups = group_texts(all, max_tokens);
    std::atomic<size_t> next{0};
    std::atomic<int> failed{0};
    auto work = [&] {
        static thread_local Workspace workspace;
        const Guard guard;
        try {
            for (size_t i; (i = next++) < groups.size();) run(groups[i], workspace);
        } catch (const std::bad_alloc&) {
            failed = 1;
        }
    };
    std::vector<std::thread> others;
    others.reserve(groups.size());
    try {
        while (others.size() + 1 < std::min(groups.size(), size_t(threads))) others.emplace_back(work);
    } catch (const std::exception&) {  // The system allows no more threads: go on with those that started.
    }
    work();
    for (std::thread& other : others) other.join();
    return failed;
} catch (const std::bad_alloc&) {
    return 1;
}
}  // namespace
