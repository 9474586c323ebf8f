#include <immintrin.h>

#include "cpu/matmul_kernels.h"

namespace mlc::cpu::avx2 {
namespace {

constexpr int kBlockPairs = 4;  // a cache line of nibbles: what is fetched together
constexpr int kBlockGroups = 2 * kBlockPairs;

/// `count` rows of a matrix, kBlockGroups groups at a time.
template <typename Scale, int count>
struct Rows {
  const std::uint8_t* bytes[count];  ///< of the block that Seek has found
  const Scale* scales[count];

  /// Rows past the last read as the last.
  Rows(const Product& product, std::int64_t row) : groups_(product.groups) {
    for (int i = 0; i < count; ++i) {
      const std::int64_t n = row + i < product.rows ? row + i : product.rows - 1;
      first_bytes_[i] = static_cast<const std::uint8_t*>(product.values) + n * groups_ * 16;
      first_scales_[i] = static_cast<const Scale*>(product.scales) + n * groups_;
    }
  }

  void Seek(std::int64_t group) {
    for (int i = 0; i < count; ++i) {
      bytes[i] = first_bytes_[i] + group * 16;
      scales[i] = first_scales_[i] + group;
    }
    if (groups_ - group < kBlockGroups) Pad(groups_ - group);
  }

  /// Asks for the same place of the next `count` rows.
  void Prefetch(std::int64_t group) const {
    for (int i = 0; i < count; ++i) {
      const std::uint8_t* next = bytes[i] + count * groups_ * 16;
      _mm_prefetch(reinterpret_cast<const char*>(next), _MM_HINT_T0);
      _mm_prefetch(reinterpret_cast<const char*>(next + 64), _MM_HINT_T0);
      if (group % 32 == 0) {
        _mm_prefetch(reinterpret_cast<const char*>(scales[i] + count * groups_), _MM_HINT_T0);
      }
    }
  }

 private:
  /// Zeros after the `left` groups at the end of the rows.
  void Pad(std::int64_t left) {
    for (int i = 0; i < count; ++i) {
      for (std::int64_t byte = 0; byte < kBlockGroups * 16; ++byte) {
        last_bytes_[i][byte] = byte < left * 16 ? bytes[i][byte] : std::uint8_t{0};
      }
      for (std::int64_t group = 0; group < kBlockGroups; ++group) {
        last_scales_[i][group] = group < left ? scales[i][group] : Scale{0};
      }
      bytes[i] = last_bytes_[i];
      scales[i] = last_scales_[i];
    }
  }

  std::int64_t groups_;
  const std::uint8_t* first_bytes_[count];
  const Scale* first_scales_[count];
  std::uint8_t last_bytes_[count][kBlockGroups * 16];
  Scale last_scales_[count][kBlockGroups];
};

inline __m256i Load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }

/// `first` in the low half, `second` in the high one.
inline __m256 Spread(const float* pair) {
  return _mm256_blend_ps(_mm256_broadcast_ss(pair), _mm256_broadcast_ss(pair + 1), 0xf0);
}
inline __m256i Spread(const std::int32_t* pair) {
  return _mm256_blend_epi32(_mm256_set1_epi32(pair[0]), _mm256_set1_epi32(pair[1]), 0xf0);
}

/// Scales of four rows' blocks: of group 2p in the low half of out[p], of 2p + 1 in the high one.
inline void LoadScales(const std::uint16_t* const* rows, __m256* out) {
  const auto load = [&](int i) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[i]));
  };
  const __m128i low01 = _mm_unpacklo_epi16(load(0), load(1));
  const __m128i high01 = _mm_unpackhi_epi16(load(0), load(1));
  const __m128i low23 = _mm_unpacklo_epi16(load(2), load(3));
  const __m128i high23 = _mm_unpackhi_epi16(load(2), load(3));
  out[0] = _mm256_cvtph_ps(_mm_unpacklo_epi32(low01, low23));
  out[1] = _mm256_cvtph_ps(_mm_unpackhi_epi32(low01, low23));
  out[2] = _mm256_cvtph_ps(_mm_unpacklo_epi32(high01, high23));
  out[3] = _mm256_cvtph_ps(_mm_unpackhi_epi32(high01, high23));
}

inline void LoadScales(const float* const* rows, __m256* out) {
  for (int half = 0; half < 2; ++half) {
    const auto load = [&](int i) { return _mm_loadu_ps(rows[i] + 4 * half); };
    const __m128 low01 = _mm_unpacklo_ps(load(0), load(1));
    const __m128 high01 = _mm_unpackhi_ps(load(0), load(1));
    const __m128 low23 = _mm_unpacklo_ps(load(2), load(3));
    const __m128 high23 = _mm_unpackhi_ps(load(2), load(3));
    out[2 * half] = _mm256_set_m128(_mm_movehl_ps(low23, low01), _mm_movelh_ps(low01, low23));
    out[2 * half + 1] =
        _mm256_set_m128(_mm_movehl_ps(high23, high01), _mm_movelh_ps(high01, high23));
  }
}

inline __m256i LowNibbles(__m256i v) { return _mm256_and_si256(v, _mm256_set1_epi8(0xf)); }
inline __m256i HighNibbles(__m256i v) { return LowNibbles(_mm256_srli_epi16(v, 4)); }

/// Of four vectors of int32, whose values fit in int16, the sums of four neighbours each.
inline __m256i AddNeighbours(const __m256i* four) {
  const __m256i ones = _mm256_set1_epi16(1);
  const __m256i low = _mm256_madd_epi16(_mm256_packs_epi32(four[0], four[1]), ones);
  const __m256i high = _mm256_madd_epi16(_mm256_packs_epi32(four[2], four[3]), ones);
  return _mm256_madd_epi16(_mm256_packs_epi32(low, high), ones);
}

// --- A few rows of x: weights go straight from memory into products.

/// Adds `pairs` pairs of groups of four rows of the matrix times `x_rows` rows of x, which begin at
/// pair `first` of x.
template <int x_rows, typename Scale>
inline void AddFew(const std::uint8_t* const* bytes, const Scale* const* row_scales, int pairs,
                   const QuantizedRows& x, std::int64_t first, __m256* totals) {
  const __m256i ones = _mm256_set1_epi16(1);
  __m256 scales[kBlockPairs];
  LoadScales(row_scales, scales);
  for (int p = 0; p < pairs; ++p) {
    __m256i sums[x_rows][4];
    for (int i = 0; i < 4; ++i) {
      const __m256i nibbles = Load(bytes[i] + 32 * p);
      const __m256i low = LowNibbles(nibbles), high = HighNibbles(nibbles);
      for (int r = 0; r < x_rows; ++r) {
        const std::int8_t* values = x.values + (first + p + r * x.pairs) * 64;
        const __m256i products = _mm256_add_epi16(_mm256_maddubs_epi16(low, Load(values)),
                                                  _mm256_maddubs_epi16(high, Load(values + 32)));
        sums[r][i] = _mm256_madd_epi16(products, ones);
      }
    }
    for (int r = 0; r < x_rows; ++r) {
      const std::int64_t group = (first + p + r * x.pairs) * 2;
      const __m256i sum = _mm256_sub_epi32(AddNeighbours(sums[r]), Spread(x.offsets + group));
      const __m256 scale = _mm256_mul_ps(scales[p], Spread(x.scales + group));
      totals[r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scale, totals[r]);
    }
  }
}

/// Four rows of the matrix by the `x_rows` rows of x.
template <typename Scale, int x_rows>
void MultiplyFew(const Product& product, std::int64_t n) {
  const QuantizedRows x = product.quantized;
  const std::int64_t groups = product.groups;
  __m256 totals[x_rows];
  for (__m256& total : totals) total = _mm256_setzero_ps();

  const std::uint8_t* bytes[4];
  const Scale* scales[4];
  for (int i = 0; i < 4; ++i) {
    const std::int64_t row = n + i < product.rows ? n + i : product.rows - 1;
    bytes[i] = static_cast<const std::uint8_t*>(product.values) + row * groups * 16;
    scales[i] = static_cast<const Scale*>(product.scales) + row * groups;
  }
  const std::int64_t next = groups * 64;  // bytes to the four rows after these
  std::int64_t group = 0;
  for (; group + kBlockGroups <= groups; group += kBlockGroups) {
    for (int i = 0; i < 4; ++i) {
      _mm_prefetch(reinterpret_cast<const char*>(bytes[i] + next), _MM_HINT_T0);
      _mm_prefetch(reinterpret_cast<const char*>(bytes[i] + next + 64), _MM_HINT_T0);
      _mm_prefetch(reinterpret_cast<const char*>(scales[i] + 4 * groups), _MM_HINT_T0);
    }
    AddFew<x_rows>(bytes, scales, kBlockPairs, x, group / 2, totals);
    for (int i = 0; i < 4; ++i) {
      bytes[i] += kBlockGroups * 16;
      scales[i] += kBlockGroups;
    }
  }
  if (group < groups) {
    Rows<Scale, 4> rows(product, n);
    rows.Seek(group);
    AddFew<x_rows>(rows.bytes, rows.scales, static_cast<int>(x.pairs - group / 2), x, group / 2,
                   totals);
  }
  for (int r = 0; r < x_rows; ++r) {
    float out[4];
    _mm_storeu_ps(
        out, _mm_add_ps(_mm256_castps256_ps128(totals[r]), _mm256_extractf128_ps(totals[r], 1)));
    for (int i = 0; i < 4 && n + i < product.rows; ++i) {
      product.out[r * product.rows + n + i] =
          product.bias == nullptr ? out[i] : out[i] + product.bias[n + i];
    }
  }
}

// --- Many rows of x: a panel of 16 rows of the matrix is unpacked into L1 and used for all of
// them.

constexpr int kPanelGroups = 32;
constexpr int kXRows = 128;  // that share an unpacked panel

struct Panel {
  /// [group, 4 even and 4 odd steps of 4 k each, row of the matrix, 4 k]
  alignas(32) std::uint8_t bytes[kPanelGroups][8][kPanel][4];
  alignas(32) float scales[kPanelGroups][kPanel];
  /// Sums so far of even and of odd groups.
  alignas(32) float totals[kXRows][2][kPanel];
};

/// Eight rows of a matrix, from `row` on in the panel.
template <typename Scale>
void Unpack(Rows<Scale, 8>& rows, std::int64_t first_group, std::int64_t groups, int row,
            Panel& panel) {
  for (std::int64_t block = 0; block < groups; block += kBlockGroups) {
    rows.Seek(first_group + block);
    rows.Prefetch(first_group + block);
    for (int four = 0; four < 8; four += 4) {
      __m256 scales[kBlockPairs];
      LoadScales(rows.scales + four, scales);
      for (int p = 0; p < kBlockPairs; ++p) {
        float* out = &panel.scales[block + 2 * p][row + four];
        _mm_store_ps(out, _mm256_castps256_ps128(scales[p]));
        _mm_store_ps(out + kPanel, _mm256_extractf128_ps(scales[p], 1));
      }
    }
    for (int p = 0; p < kBlockPairs; ++p) {
      __m256i words[8];  // [step + 4 * (row / 4)]: of 4 rows, group 2p and 2p + 1
      for (int four = 0; four < 8; four += 4) {
        const auto load = [&](int i) { return Load(rows.bytes[four + i] + 32 * p); };
        const __m256i low01 = _mm256_unpacklo_epi32(load(0), load(1));
        const __m256i high01 = _mm256_unpackhi_epi32(load(0), load(1));
        const __m256i low23 = _mm256_unpacklo_epi32(load(2), load(3));
        const __m256i high23 = _mm256_unpackhi_epi32(load(2), load(3));
        words[four] = _mm256_unpacklo_epi64(low01, low23);
        words[four + 1] = _mm256_unpackhi_epi64(low01, low23);
        words[four + 2] = _mm256_unpacklo_epi64(high01, high23);
        words[four + 3] = _mm256_unpackhi_epi64(high01, high23);
      }
      for (int step = 0; step < 4; ++step) {
        const auto store = [&](int odd, __m256i v) {
          auto& group = panel.bytes[block + 2 * p + odd];
          _mm256_store_si256(reinterpret_cast<__m256i*>(group[step][row]), LowNibbles(v));
          _mm256_store_si256(reinterpret_cast<__m256i*>(group[step + 4][row]), HighNibbles(v));
        };
        store(0, _mm256_permute2x128_si256(words[step], words[step + 4], 0x20));
        store(1, _mm256_permute2x128_si256(words[step], words[step + 4], 0x31));
      }
    }
  }
}

/// Keeps the compiler from making a tree of a chain of sums: its leaves would not fit in registers.
inline void Pin([[maybe_unused]] __m256i& v) {
#if defined(__GNUC__)
  __asm__("" : "+x"(v));
#endif
}

/// Adds the products of the panel and `x_rows` rows of x.
template <int x_rows>
void AddTile(const QuantizedRows x, std::int64_t first_group, std::int64_t groups,
             std::int64_t x_row, const Panel& panel, float (*totals)[2][kPanel]) {
  const __m256i ones = _mm256_set1_epi16(1);
  const std::int64_t stride = x.pairs * 2;
  const std::int8_t* values = x.values + (x_row * x.pairs + first_group / 2) * 64;
  const float* x_scales = x.scales + x_row * stride + first_group;
  const std::int32_t* offsets = x.offsets + x_row * stride + first_group;
  for (std::int64_t group = 0; group < groups; ++group) {
    const std::int8_t* group_values = values + group / 2 * 64 + group % 2 * 16;
    const auto& steps = panel.bytes[group];
    __m256i sums[x_rows][2];
#pragma GCC unroll 8
    for (int step = 0; step < 8; ++step) {
      const __m256i low = Load(steps[step]), high = Load(steps[step] + 8);
      for (int r = 0; r < x_rows; ++r) {
        const std::int8_t* four = group_values + r * stride * 32 + step / 4 * 32 + step % 4 * 4;
        const __m256i input =
            _mm256_castps_si256(_mm256_broadcast_ss(reinterpret_cast<const float*>(four)));
        const __m256i a = _mm256_maddubs_epi16(low, input);
        const __m256i b = _mm256_maddubs_epi16(high, input);
        sums[r][0] = step == 0 ? a : _mm256_add_epi16(sums[r][0], a);
        sums[r][1] = step == 0 ? b : _mm256_add_epi16(sums[r][1], b);
        Pin(sums[r][0]);
        Pin(sums[r][1]);
      }
    }
    const __m256 scales[2] = {_mm256_load_ps(panel.scales[group]),
                              _mm256_load_ps(panel.scales[group] + 8)};
    for (int r = 0; r < x_rows; ++r) {
      const __m256i offset = _mm256_set1_epi32(offsets[r * stride + group]);
      const __m256 x_scale = _mm256_broadcast_ss(x_scales + r * stride + group);
      for (int half = 0; half < 2; ++half) {
        const __m256i sum = _mm256_sub_epi32(_mm256_madd_epi16(sums[r][half], ones), offset);
        float* total = totals[r][group % 2] + 8 * half;
        _mm256_store_ps(
            total, _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), _mm256_mul_ps(scales[half], x_scale),
                                   _mm256_load_ps(total)));
      }
    }
  }
}

void Finish(const Product& product, std::int64_t n, std::int64_t x_row,
            const float (&totals)[2][kPanel]) {
  float* out = product.out + x_row * product.rows + n;
  for (int i = 0; i < kPanel && n + i < product.rows; ++i) {
    const float sum = totals[0][i] + totals[1][i];
    out[i] = product.bias == nullptr ? sum : sum + product.bias[n + i];
  }
}

/// A panel of the matrix by rows [first_x_row, last_x_row) of x, kXRows at most.
template <typename Scale>
void MultiplyPanel(const Product& product, std::int64_t n, std::int64_t first_x_row,
                   std::int64_t last_x_row) {
  Panel panel;
  const std::int64_t x_rows = last_x_row - first_x_row;
  for (std::int64_t i = 0; i < x_rows; ++i) {
    for (float& total : panel.totals[i][0]) total = 0;
    for (float& total : panel.totals[i][1]) total = 0;
  }
  Rows<Scale, 8> low(product, n), high(product, n + 8);
  for (std::int64_t group = 0; group < product.groups; group += kPanelGroups) {
    const std::int64_t left = product.groups - group;
    const std::int64_t groups = left < kPanelGroups ? left : kPanelGroups;
    Unpack(low, group, groups, 0, panel);
    Unpack(high, group, groups, 8, panel);
    std::int64_t i = 0;
    for (; i + 4 <= x_rows; i += 4) {
      AddTile<4>(product.quantized, group, groups, first_x_row + i, panel, panel.totals + i);
    }
    if (x_rows - i == 3)
      AddTile<3>(product.quantized, group, groups, first_x_row + i, panel, panel.totals + i);
    if (x_rows - i == 2)
      AddTile<2>(product.quantized, group, groups, first_x_row + i, panel, panel.totals + i);
    if (x_rows - i == 1)
      AddTile<1>(product.quantized, group, groups, first_x_row + i, panel, panel.totals + i);
  }
  for (std::int64_t i = 0; i < x_rows; ++i) Finish(product, n, first_x_row + i, panel.totals[i]);
}

template <typename Scale>
void Multiply(const Product& product, std::int64_t begin, std::int64_t end) {
  if (product.x_rows > 3) {
    for (std::int64_t row = 0; row < product.x_rows; row += kXRows) {
      const std::int64_t last = row + kXRows < product.x_rows ? row + kXRows : product.x_rows;
      for (std::int64_t n = begin; n < end; n += kPanel)
        MultiplyPanel<Scale>(product, n, row, last);
    }
    return;
  }
  for (std::int64_t n = begin; n < end; n += 4) {
    if (product.x_rows == 1) MultiplyFew<Scale, 1>(product, n);
    if (product.x_rows == 2) MultiplyFew<Scale, 2>(product, n);
    if (product.x_rows == 3) MultiplyFew<Scale, 3>(product, n);
  }
}

// --- Quantizing x.

inline std::int32_t AddLanes(__m256i v) {
  const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
}

inline std::int32_t LargestLane(__m256i v) {
  const __m128i four = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  const __m128i two = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtsi128_si32(_mm_max_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
}

/// 32 values of x; see QuantizedRows for their order.
void QuantizeGroup(const float* x, std::int8_t* values, float* scale, std::int32_t* offset) {
  const __m256i magnitude = _mm256_set1_epi32(0x7fff'ffff);
  __m256 input[4];
  __m256i largest = _mm256_setzero_si256();  // as bits: those of a NaN are above all others
  for (int i = 0; i < 4; ++i) {
    input[i] = _mm256_loadu_ps(x + 8 * i);
    largest = _mm256_max_epi32(largest, _mm256_and_si256(_mm256_castps_si256(input[i]), magnitude));
  }
  const float limit = _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(LargestLane(largest))));
  const bool tiny = limit < kSmallestLimit;
  const __m256 inverse = _mm256_set1_ps(tiny ? 0 : 127 / limit);
  __m256i integers[4];
  for (int i = 0; i < 4; ++i) integers[i] = _mm256_cvtps_epi32(_mm256_mul_ps(input[i], inverse));
  *scale = tiny ? 0 : limit / 127;
  const std::int32_t sum = AddLanes(_mm256_add_epi32(_mm256_add_epi32(integers[0], integers[1]),
                                                     _mm256_add_epi32(integers[2], integers[3])));
  // Infinity and NaN become integers too large to multiply; the scale alone carries them on.
  *offset = limit <= 0x1.fffffep127f ? 7 * sum : 0;

  // Fours of k: 0, 2, 4, 6 in the low half, 1, 3, 5, 7 in the high one.
  const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(integers[0], integers[1]),
                                           _mm256_packs_epi32(integers[2], integers[3]));
  const __m256i parted =
      _mm256_shuffle_epi8(bytes, _mm256_broadcastsi128_si256(_mm_setr_epi8(
                                     0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15)));
  const __m128i low = _mm256_castsi256_si128(parted), high = _mm256_extracti128_si256(parted, 1);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(values), _mm_unpacklo_epi16(low, high));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(values + 32), _mm_unpackhi_epi16(low, high));
}

}  // namespace

void Quantize(const Product& product, std::int64_t row) {
  const QuantizedRows& quantized = product.quantized;
  const float* x = product.x + row * product.cols;
  for (std::int64_t group = 0; group < 2 * quantized.pairs; ++group) {
    const std::int64_t index = row * quantized.pairs * 2 + group;
    std::int8_t* values = quantized.values + index / 2 * 64 + index % 2 * 16;
    float last[32];
    const float* input = x + group * 32;
    if (product.cols - group * 32 < 32) {
      for (std::int64_t i = 0; i < 32; ++i) last[i] = group * 32 + i < product.cols ? input[i] : 0;
      input = last;
    }
    QuantizeGroup(input, values, quantized.scales + index, quantized.offsets + index);
  }
}

void MultiplyQ4Float16(const Product& product, std::int64_t begin, std::int64_t end) {
  Multiply<std::uint16_t>(product, begin, end);
}

void MultiplyQ4Float32(const Product& product, std::int64_t begin, std::int64_t end) {
  Multiply<float>(product, begin, end);
}

}  // namespace mlc::cpu::avx2
