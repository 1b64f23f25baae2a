// What the encoders of amx.cpp and int8.cpp share: their texts, memory and threads, and what each number goes
// through in float32, 16 at a time.  Each includes it once it has said for which CPU it is compiled.
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

// The version of what encoders.py calls and hands over.
constexpr int INTERFACE = 3;

namespace {
// What encoders.py hands over.  Weights [n, k], words and positions are of the encoder's own number type
// and order; `scale` and `sum` are int8.cpp's.
struct Product {
    const void* weights;
    const float *bias, *scale, *sum;
    int64_t n, k;
};
struct Norm { const float *weight, *bias; };
struct Layer { Product project, gather, widen, narrow; Norm norm, last_norm; };
struct Scorer { Product key; const float* query; };  // query . tanh(key(x))
struct Model {
    int64_t hidden, heads, wide, layers;
    float eps;
    const void *words, *positions;  // [ids, hidden], [positions, hidden]
    Norm norm;
    const Layer* layer;
    int64_t scorers;
    const Scorer* scorer;
};

struct Texts {
    const int64_t *ids, *positions;  // [tokens]
    const int32_t* bounds;           // [texts + 1]: where each text begins, and the last one ends
    int count;
};

// Memory that grows and is kept.  What it held is lost where it grows.
template <class T> class Buffer {
    T* data = nullptr;
    size_t size = 0;
public:
    T* of(size_t wanted) {
        if (wanted > size) {
            std::free(data);
            size = 0;
            const size_t bytes = (wanted * sizeof(T) + 63) / 64 * 64;
            data = static_cast<T*>(std::aligned_alloc(64, bytes));
            if (!data) throw std::bad_alloc();
            std::memset(data, 0, bytes);
            size = wanted;
        }
        return data;
    }
    ~Buffer() { std::free(data); }
};

// x Phi(x) with 2 Phi(x) - 1 = x P(x^2) up to |x| = 4: P is fitted for the least greatest error of the whole,
// 1.9e-4, where a bfloat16 near 1 has steps of 4e-3, and the 255 steps of a row are no finer.
// (Hendrycks and Gimpel 2016.)
inline __m512 gelu(__m512 x) {
    const __m512 near = _mm512_max_ps(_mm512_min_ps(x, _mm512_set1_ps(4.0f)), _mm512_set1_ps(-4.0f));
    const __m512 square = _mm512_mul_ps(near, near);
    __m512 p = _mm512_set1_ps(4.55612449e-08f / 2);
    for (float c : {-3.19712214e-06f, 9.59094247e-05f, -0.00162801557f, 0.0175447035f, -0.129146064f,
                    0.795766588f})
        p = _mm512_fmadd_ps(p, square, _mm512_set1_ps(c / 2));
    return _mm512_mul_ps(x, _mm512_fmadd_ps(near, p, _mm512_set1_ps(0.5f)));
}

// 2^x for x <= 0 (Taylor's series of the part behind the point); what is no number stays none.
inline __m512 power_of_two(__m512 x) {
    x = _mm512_max_ps(_mm512_set1_ps(-126.0f), x);
    const __m512 whole = _mm512_roundscale_ps(x, 0), part = _mm512_sub_ps(x, whole);
    __m512 p = _mm512_set1_ps(1.3534167e-3f);
    for (float c : {9.6181291e-3f, 5.5503324e-2f, 0.24022651f, 0.69314718f, 1.0f})
        p = _mm512_fmadd_ps(p, part, _mm512_set1_ps(c));
    return _mm512_scalef_ps(p, whole);
}

// (1 - e) / (1 + e) with e = e^(-2 |x|), and the sign of x.  The CPU's own reciprocal is right to 6e-5.
inline __m512 tanh(__m512 x) {
    const __m512 one = _mm512_set1_ps(1.0f);
    const __m512 e = power_of_two(_mm512_mul_ps(_mm512_abs_ps(x), _mm512_set1_ps(-2 * float(M_LOG2E))));
    const __m512 size = _mm512_mul_ps(_mm512_sub_ps(one, e), _mm512_rcp14_ps(_mm512_add_ps(one, e)));
    return _mm512_or_ps(size, _mm512_and_ps(x, _mm512_set1_ps(-0.0f)));
}

// The mean of n numbers and 1 / their standard deviation; each 16 of them are `apart` numbers from the next.
struct Moments { __m512 mean, scale; };
inline Moments moments(const float* row, int apart, int n, float eps) {
    __m512 sum = _mm512_setzero_ps(), squares = _mm512_setzero_ps();
    for (int at = 0; at < n; at += 16) sum = _mm512_add_ps(sum, _mm512_load_ps(row + at / 16 * apart));
    const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(sum) / n);
    for (int at = 0; at < n; at += 16) {
        const __m512 off = _mm512_sub_ps(_mm512_load_ps(row + at / 16 * apart), mean);
        squares = _mm512_fmadd_ps(off, off, squares);
    }
    return {mean, _mm512_set1_ps(1.0f / std::sqrt(_mm512_reduce_add_ps(squares) / n + eps))};
}

inline __mmask16 first_of(int count) { return count >= 16 ? 0xffff : count > 0 ? (1u << count) - 1 : 0; }

// A square of 16 x 16 numbers of 32 bits, its rows so many bytes apart, with rows for columns.
inline void turn_round(const void* from, int64_t from_stride, void* to, int64_t to_stride) {
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
    auto put = [=](int row, __m512i numbers) {
        _mm512_store_si512(static_cast<char*>(to) + row * to_stride, numbers);
    };
    for (int i = 0; i < 4; ++i) {
        put(i, _mm512_shuffle_i32x4(b[i], b[8 + i], 0x88));
        put(4 + i, _mm512_shuffle_i32x4(b[4 + i], b[12 + i], 0x88));
        put(8 + i, _mm512_shuffle_i32x4(b[i], b[8 + i], 0xdd));
        put(12 + i, _mm512_shuffle_i32x4(b[4 + i], b[12 + i], 0xdd));
    }
}

// Neighbouring texts of so many tokens together, or one that is longer.
inline std::vector<Texts> groups(const Texts& all, int tokens) {
    std::vector<Texts> found;
    for (int first = 0, last; first < all.count; first = last) {
        last = first + 1;
        while (last < all.count && all.bounds[last + 1] - all.bounds[first] <= tokens) ++last;
        found.push_back({all.ids, all.positions, all.bounds + first, last - first});
    }
    return found;
}

// `run(texts, room)` over all groups by so many threads, each with room of its own and within one `Around`.
// Returns 0, or 1 without memory.
template <class Room, class Around, class Run>
int by_threads(const Texts& all, int tokens, int threads, Run run) try {
    const std::vector<Texts> found = groups(all, tokens);
    std::atomic<size_t> next{0};
    std::atomic<int> failed{0};
    auto work = [&] {
        static thread_local Room room;
        const Around around;
        try {
            for (size_t at; (at = next++) < found.size();) run(found[at], room);
        } catch (const std::bad_alloc&) {
            failed = 1;
        }
    };
    std::vector<std::thread> others;
    others.reserve(found.size());
    try {
        while (others.size() + 1 < std::min(found.size(), size_t(threads))) others.emplace_back(work);
    } catch (const std::exception&) {  // the system has no thread more: those there are do it
    }
    work();
    for (std::thread& other : others) other.join();
    return failed;
} catch (const std::bad_alloc&) {
    return 1;
}
}  // namespace
