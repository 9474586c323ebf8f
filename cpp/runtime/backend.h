#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "runtime/matrix.h"
#include "runtime/shortlist.h"

namespace mlc {

/// Tokens of one KV cache page.
inline constexpr std::int32_t kPageTokens = 32;

/// Most values of one attention head.
inline constexpr std::int32_t kMostHeadDim = 512;

/// Heads are padded to a multiple of this in the KV cache.
inline constexpr std::int32_t kHeadAlign = 16;

/// Memory on one device; only its backend looks inside.
class Buffer {
 public:
  virtual ~Buffer() = default;
};

/// A weight matrix on one device.
class Matrix {
 public:
  virtual ~Matrix() = default;
};

struct KvLayout {
  std::int32_t layers = 0;
  std::int32_t kv_heads = 0;
  std::int32_t head_dim = 0;
  std::int32_t pages = 0;
  bool half = false;  ///< float16 elements, else float32

  bool operator==(const KvLayout&) const = default;

  std::int32_t padded_dim() const { return (head_dim + kHeadAlign - 1) / kHeadAlign * kHeadAlign; }

  std::size_t bytes_per_page() const {
    return std::size_t{2} * static_cast<std::size_t>(layers) * static_cast<std::size_t>(kv_heads) *
           static_cast<std::size_t>(padded_dim()) * kPageTokens * (half ? 2 : 4);
  }
};

/// Keys and values of every layer, in pages of kPageTokens tokens.
class KvCache {
 public:
  explicit KvCache(const KvLayout& layout) : layout_(layout) {}
  virtual ~KvCache() = default;
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  const KvLayout& layout() const { return layout_; }

 private:
  KvLayout layout_;
};

/// Consecutive tokens of one sequence in a batch: rows [first_row, first_row + rows).
struct BatchSequence {
  std::int32_t first_row = 0;
  std::int32_t rows = 0;
  std::int32_t past = 0;                ///< tokens already in the cache; the position of first_row
  std::span<const std::int32_t> pages;  ///< pages of the sequence, in order; cover past + rows
};

/// One step of work: the tokens of all sequences, one sequence after another, a row each.
struct Batch {
  std::span<const std::int32_t> tokens;  ///< [rows]
  std::span<const BatchSequence> sequences;
  std::span<const std::int32_t> logit_rows;  ///< rows whose logits are wanted, ascending; or none
  std::span<const TokenQuery> queries = {};  ///< of each of these rows, for `RankTokens`; or none

  std::int32_t rows() const { return static_cast<std::int32_t>(tokens.size()); }
};

/// What one layer's attention does with a row of fused q, k and v.
struct AttentionSpec {
  std::int32_t layer = 0;
  std::int32_t heads = 0;
  std::int32_t kv_heads = 0;
  std::int32_t head_dim = 0;
  std::int32_t rotary_dim = 0;                  ///< leading part of each head that rotates; even
  const Buffer* inverse_frequencies = nullptr;  ///< float32 [rotary_dim / 2]
  float rotary_scale = 1;                       ///< factor on cos and sin (YaRN's and LongRoPE's)
  const Buffer* q_norm = nullptr;  ///< float32 [head_dim] of an RMS norm per head, or none
  const Buffer* k_norm = nullptr;
  float norm_epsilon = 0;
  float scale = 1;          ///< on q . k
  float softcap = 0;        ///< scores become cap * tanh(score / cap); 0 is none
  std::int32_t window = 0;  ///< a token sees itself and window - 1 before; 0: all
};

/// What a step made a device do; nothing where there is none.
struct StepWork {
  std::int64_t dispatches = 0;
  std::int64_t barriers = 0;
  std::int64_t submissions = 0;
  std::int64_t returned_bytes = 0;  ///< that came back to the host
};

enum class Activation { kSilu, kGeluTanh };

/// The root-mean-square norm of a row: x / sqrt(mean(x^2) + epsilon) * weight.
struct NormSpec {
  const Buffer* weight = nullptr;  ///< float32 [width]
  float epsilon = 0;
};

/// The operators of a decoder, on one device. A model is written once on top of them.
///
/// Activations are float32, [rows, width], row after row. Operators may run later, in order; `Read`
/// waits. The result of a row depends on nothing but that row and its sequence: not on the rows
/// beside it, their number, or the number of threads; on Vulkan it does depend on how many
/// rows of its sequence the batch has. Calls come from one thread at a time.
/// Operators throw std::runtime_error when the device fails.
class Backend {
 public:
  virtual ~Backend() = default;

  /// May keep `view` and read it in place: its memory must outlive the result. A `paired` matrix is
  /// one for `Gate`, whose row i is used with row rows / 2 + i.
  virtual std::unique_ptr<Matrix> LoadMatrix(const MatrixView& view, bool paired) = 0;
  virtual std::unique_ptr<Buffer> LoadVector(std::span<const float> values) = 0;
  virtual std::unique_ptr<Buffer> Allocate(std::size_t floats) = 0;

  /// Waits until nothing writes to what was loaded, so that it can be given up.
  virtual void FinishLoading() noexcept {}

  virtual std::unique_ptr<KvCache> MakeKvCache(const KvLayout& layout) = 0;

  /// Starts a step. `cache`, and `batch` with what it views, must stay until the last `Read`.
  virtual void Begin(const Batch& batch, KvCache& cache) = 0;

  /// Runs a part of the step: `operators` calls those below, all but `Read`. What it calls depends
  /// on `part`, on how many rows the sequences of the batch have, and on how many logits are
  /// wanted: a device that remembers that repeats it without a call.
  virtual void Run(std::int32_t part, const std::function<void()>& operators) = 0;

  /// out[r] = scale * table[tokens[r]]
  virtual void Embed(const Matrix& table, float scale, Buffer& out) = 0;

  /// out[rows, matrix.rows] = norm(x) * matrix^T + bias (may be none).
  virtual void Project(const NormSpec& norm, const Matrix& matrix, const Buffer* bias,
                       const Buffer& x, std::int32_t rows, Buffer& out) = 0;

  /// qkv [rows, (heads + 2 * kv_heads) * head_dim], overwritten: norms and rotates q and k by each
  /// row's position, stores k and v in the sequences' pages; then, unless `out` is null,
  /// out[rows, heads * head_dim] = causal attention of q over the cache.
  virtual void Attend(const AttentionSpec& spec, Buffer& qkv, Buffer* out) = 0;

  /// residual += x * matrix^T, or post_norm(x * matrix^T) where that is given.
  virtual void AddProject(const Matrix& matrix, const NormSpec* post_norm, const Buffer& x,
                          std::int32_t rows, Buffer& residual) = 0;

  /// out[r, i] = activation(gate[r, i]) * up[r, i], where norm(x) * matrix^T is [gate, up].
  virtual void Gate(const NormSpec& norm, const Matrix& matrix, Activation activation,
                    const Buffer& x, std::int32_t rows, Buffer& out) = 0;

  /// out[i] = x[logit_rows[i]], rows of `width`. Later operators work on such rows.
  virtual void GatherRows(const Buffer& x, std::int32_t width, Buffer& out) = 0;

  /// out[rows, matrix.rows] = norm(x[first_row + r]) * matrix^T, then cap * tanh(. / cap) unless
  /// `cap` is 0.
  virtual void Logits(const NormSpec& norm, const Matrix& matrix, float cap, const Buffer& x,
                      std::int32_t first_row, std::int32_t rows, Buffer& out) = 0;

  /// Whether logits are so far from the host that `RankTokens` is worth it. Elsewhere the next two
  /// are never called.
  virtual bool ranks_tokens() const { return false; }

  /// Adjusts the logits [logit_rows, vocab] and answers the batch's queries.
  virtual void RankTokens([[maybe_unused]] Buffer& logits, [[maybe_unused]] std::int32_t vocab) {}

  /// Waits for everything, then hands out the answers of `RankTokens`, one for each query.
  virtual void ReadRanked([[maybe_unused]] std::span<Shortlist> out) {}

  /// Of the last step, so far.
  virtual StepWork work() const { return {}; }

  /// Waits for everything, then copies `out.size()` values from `first` on.
  virtual void Read(const Buffer& x, std::size_t first, std::span<float> out) = 0;
};

}  // namespace mlc
