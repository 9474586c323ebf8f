#pragma once

// A 4-bit matrix times many rows of x: a panel of its rows is unpacked into L1 and used for them.

#include "cpu/kernels/q4_rows.inc.h"

namespace mlc::cpu::q4 {
namespace {

constexpr int kLanes = Vector::kLanes;
constexpr int kPanelGroups = 32;
constexpr int kPanelVectors = static_cast<int>(kPanel) / kLanes;
constexpr int kXRows = 64;  // that share an unpacked panel
// Sums of products take half of the registers; more than eight rows at once bring nothing.
constexpr int kSumRegisters = kPanelVectors * static_cast<int>(sizeof(Sums) / sizeof(Integers));
constexpr int kMostTileRows = Vector::kRegisters / 2 / kSumRegisters;
constexpr int kTileRows = kMostTileRows < 8 ? kMostTileRows : 8;
static_assert(kLanes == 4 * kGroups);

struct Panel {
  /// [group, 4 even and 4 odd steps of 4 k each, row of the matrix, 4 k]
  alignas(64) std::uint8_t bytes[kPanelGroups][8][kPanel][4];
  alignas(64) float scales[kPanelGroups][kPanel];
  /// Sums so far of every kGroups-th group, beginning with each.
  alignas(64) float totals[kXRows][kGroups][kPanel];
};

/// A block of kLanes rows of a matrix, which are `row` and those after it in the panel.
template <typename Scale>
void Unpack(const Rows<Scale, kLanes>& rows, std::int64_t block, int row, Panel& panel) {
  Vector scales[kGroups][kBlockVectors];  // [fours of rows, groups]
  for (int four = 0; four < kGroups; ++four) LoadScales(rows.scales + 4 * four, scales[four]);
  for (int v = 0; v < kBlockVectors; ++v) {
    const std::int64_t first = block + v * kGroups;
    Vector group_scales[kGroups];
    for (int four = 0; four < kGroups; ++four) group_scales[four] = scales[four][v];
    TransposeGroups(group_scales);
    for (int g = 0; g < kGroups; ++g) group_scales[g].Store(&panel.scales[first + g][row]);

    Integers words[kGroups][4];  // [fours of rows, step]
    for (int four = 0; four < kGroups; ++four) {
      for (int i = 0; i < 4; ++i) {
        words[four][i] = Integers::Load(rows.bytes[4 * four + i] + v * kGroups * 16);
      }
      TransposeWords(words[four]);
    }
    for (int step = 0; step < 4; ++step) {
      Integers groups[kGroups];
      for (int four = 0; four < kGroups; ++four) groups[four] = words[four][step];
      TransposeGroups(groups);
      for (int g = 0; g < kGroups; ++g) {
        LowNibbles(groups[g]).Store(panel.bytes[first + g][step][row]);
        HighNibbles(groups[g]).Store(panel.bytes[first + g][step + 4][row]);
      }
    }
  }
}

/// What of the matrix is unpacked next, and so comes from memory while a panel is multiplied.
struct NextPanel {
  const std::uint8_t* bytes;
  const std::uint8_t* scales;
  std::int64_t bytes_stride, scales_stride;  ///< from row to row
  std::int64_t scales_size;                  ///< in a row

  template <typename Scale>
  static NextPanel Make(const Product& product, std::int64_t n, std::int64_t group) {
    const std::int64_t index = n * product.groups + group;
    return {
        static_cast<const std::uint8_t*>(product.values) + index * 16,
        reinterpret_cast<const std::uint8_t*>(static_cast<const Scale*>(product.scales) + index),
        product.groups * 16, product.groups * static_cast<std::int64_t>(sizeof(Scale)),
        kPanelGroups * static_cast<std::int64_t>(sizeof(Scale))};
  }

  /// Asks for one part of kPanelGroups: four groups are a line, so each takes a quarter of the
  /// rows.
  void Fetch(std::int64_t part) const {
    const std::uint8_t* row = bytes + part % 4 * (kPanel / 4) * bytes_stride + part / 4 * 64;
    for (std::int64_t i = 0; i < kPanel / 4; ++i) Prefetch(row + i * bytes_stride);
    const std::int64_t offset = part / kPanel * 64;
    if (offset < scales_size) Prefetch(scales + part % kPanel * scales_stride + offset);
  }
};

struct Nothing {
  void Fetch(std::int64_t) const {}
};

/// Adds the products of the panel's `groups` groups and `x_rows` rows of x.
template <int x_rows, typename Next>
void AddTile(const QuantizedRows& x, std::int64_t first_group, std::int64_t groups,
             std::int64_t x_row, const Panel& panel, const Next& next,
             float (*totals)[kGroups][kPanel]) {
  const std::int64_t stride = x.groups;
  const std::int8_t* values = x.values + (x_row * stride + first_group) * 32;
  const float* x_scales = x.scales + x_row * stride + first_group;
  const std::int32_t* offsets = x.offsets + x_row * stride + first_group;
  for (int first = 0; first < kGroups; ++first) {
    Vector sums[x_rows][kPanelVectors];
    for (int r = 0; r < x_rows; ++r) {
      for (int v = 0; v < kPanelVectors; ++v) {
        sums[r][v] = Vector::Load(totals[r][first] + v * kLanes);
      }
    }
    for (std::int64_t group = first; group < groups; group += kGroups) {
      const std::int8_t* group_values = values + (group - first) * 32 + first * 16;
      const auto& steps = panel.bytes[group];
      next.Fetch(group);
      Sums products[x_rows][kPanelVectors];
#pragma GCC unroll 8
      for (int step = 0; step < 8; ++step) {
        Integers weights[kPanelVectors];
        for (int v = 0; v < kPanelVectors; ++v)
          weights[v] = Integers::Load(steps[step][v * kLanes]);
        for (int r = 0; r < x_rows; ++r) {
          const auto input =
              RepeatFour(group_values + r * stride * 32 + step / 4 * kGroups * 16, step % 4);
          for (int v = 0; v < kPanelVectors; ++v) {
            products[r][v] =
                step == 0 ? Dot(weights[v], input) : AddDot(products[r][v], weights[v], input);
            Pin(products[r][v]);
          }
        }
      }
      for (int r = 0; r < x_rows; ++r) {
        const Integers offset = Integers::Broadcast(offsets[r * stride + group]);
        const Vector x_scale = Vector::Broadcast(x_scales[r * stride + group]);
        for (int v = 0; v < kPanelVectors; ++v) {
          const Vector scale = Mul(Vector::Load(panel.scales[group] + v * kLanes), x_scale);
          const Vector sum = ToFloats(Subtract(Total(products[r][v]), offset));
          sums[r][v] = MulAdd(sum, scale, sums[r][v]);
        }
      }
    }
    for (int r = 0; r < x_rows; ++r) {
      for (int v = 0; v < kPanelVectors; ++v) sums[r][v].Store(totals[r][first] + v * kLanes);
    }
  }
}

/// All of `x_rows` rows, in tiles of `most` rows and less; the first fetches all of `next`.
template <int most, typename Next>
void AddTiles(const QuantizedRows& x, std::int64_t first_group, std::int64_t groups,
              std::int64_t x_row, std::int64_t x_rows, const Panel& panel, const Next& next,
              float (*totals)[kGroups][kPanel]) {
  if (x_rows >= most) {
    AddTile<most>(x, first_group, groups, x_row, panel, next, totals);
    AddTiles<most>(x, first_group, groups, x_row + most, x_rows - most, panel, Nothing(),
                   totals + most);
  } else if constexpr (most > 1) {
    AddTiles<most / 2>(x, first_group, groups, x_row, x_rows, panel, next, totals);
  }
}

/// Writes a panel's part of a row of the result.
inline void Finish(const Product& product, std::int64_t n, const float (&totals)[kGroups][kPanel],
                   std::int64_t x_row) {
  float sums[kPanel];
  for (int v = 0; v < kPanelVectors; ++v) {
    Vector groups[kGroups];
    for (int g = 0; g < kGroups; ++g) groups[g] = Vector::Load(totals[g] + v * kLanes);
    AddHalves(groups).Store(sums + v * kLanes);
  }
  const std::int64_t left = product.rows - n;
  const std::int64_t count = left < kPanel ? left : kPanel;
  float* out = product.out + x_row * product.rows + n;
  if (product.bias == nullptr) {
    for (std::int64_t i = 0; i < count; ++i) out[i] = sums[i];
  } else {
    for (std::int64_t i = 0; i < count; ++i) out[i] = sums[i] + product.bias[n + i];
  }
}

/// A panel of the matrix by rows [first_x_row, last_x_row) of x, kXRows at most.
template <typename Scale>
void MultiplyPanel(const Product& product, std::int64_t n, std::int64_t first_x_row,
                   std::int64_t last_x_row) {
  Panel panel;
  const std::int64_t x_rows = last_x_row - first_x_row;
  for (std::int64_t i = 0; i < x_rows; ++i) {
    for (auto& totals : panel.totals[i]) {
      for (int v = 0; v < kPanelVectors; ++v) Vector::Broadcast(0).Store(totals + v * kLanes);
    }
  }
  for (std::int64_t group = 0; group < product.groups; group += kPanelGroups) {
    const std::int64_t left = product.groups - group;
    const std::int64_t groups = left < kPanelGroups ? left : kPanelGroups;
    for (int v = 0; v < kPanelVectors; ++v) {
      Rows<Scale, kLanes> rows(product, n + v * kLanes);
      for (std::int64_t block = 0; block < groups; block += kBlockGroups) {
        rows.Seek(group + block);
        Unpack(rows, block, v * kLanes, panel);
      }
    }
    const bool last = left <= kPanelGroups;
    const NextPanel next =
        NextPanel::Make<Scale>(product, last ? n + kPanel : n, last ? 0 : group + groups);
    AddTiles<kTileRows>(product.quantized, group, groups, first_x_row, x_rows, panel, next,
                        panel.totals);
  }
  for (std::int64_t r = 0; r < x_rows; ++r) {
    Finish(product, n, panel.totals[r], first_x_row + r);
  }
}

}  // namespace
}  // namespace mlc::cpu::q4
