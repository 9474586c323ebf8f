#include "vulkan/backend.h"

#include <algorithm>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "vulkan/attention.h"
#include "vulkan/device.h"
#include "vulkan/matmul.h"
#include "vulkan/ranking.h"
#include "vulkan/recorder.h"
#include "vulkan/shaders/spirv.h"
#include "vulkan/step.h"
#include "vulkan/upload.h"

namespace mlc::vulkan {
namespace {

constexpr std::size_t kMostRecordings = 64;

struct EmbedShape {
  std::uint32_t first_row, part_rows, cols;
  float scale;
};
struct GatherShape {
  std::uint32_t width;
};
struct NormShape {
  std::uint32_t width;
  float epsilon;
};

Program EmbedProgram() { return {spirv::embed, 4, 1u << 2, sizeof(EmbedShape)}; }
Program GatherProgram() { return {spirv::gather, 3, 1u << 1, sizeof(GatherShape)}; }
Program NormProgram() { return {spirv::norm, 3, 1u << 2, sizeof(NormShape)}; }

const DeviceMatrix& MatrixOf(const Matrix& matrix) {
  return static_cast<const DeviceMatrix&>(matrix);
}

std::uint32_t Size(std::int64_t value) { return static_cast<std::uint32_t>(value); }

class VulkanBackend final : public Backend {
 public:
  explicit VulkanBackend(std::shared_ptr<Device> device) : device_(std::move(device)) {}

  std::unique_ptr<Matrix> LoadMatrix(const MatrixView& view, bool paired) override {
    return matmul_.Load(view, paired, uploader_);
  }

  std::unique_ptr<mlc::Buffer> LoadVector(std::span<const float> values) override {
    auto buffer = Allocate(values.size());
    uploader_.Write(SliceOf(*buffer), std::as_bytes(values));
    return buffer;
  }

  std::unique_ptr<mlc::Buffer> Allocate(std::size_t floats) override {
    return std::make_unique<DeviceBuffer>(
        device_->memory().Allocate(floats * sizeof(float), Place::kDevice));
  }

  void FinishLoading() noexcept override { uploader_.Await(); }

  std::unique_ptr<KvCache> MakeKvCache(const KvLayout& layout) override {
    auto cache = std::make_unique<DeviceKvCache>(device_, layout);
    // What is behind the dimensions of a head is read with them, and never written.
    Recorder recorder(*device_, scratch_);
    for (std::int32_t layer = 0; layer < layout.layers; ++layer) {
      recorder.Zero(cache->Keys(layer));
      recorder.Zero(cache->Values(layer));
    }
    const Recording zeros = recorder.Finish();
    Submit({{zeros.commands.buffer}});
    return cache;
  }

  void Begin(const Batch& batch, KvCache& cache) override {
    uploader_.Finish();
    pending_.clear();
    work_ = {};
    // Another model of the device may have found that its dispatches do not start in order.
    if (overlaps_ != device_->overlaps()) {
      overlaps_ = false;
      Forget();
    }
    if (step_.Write(batch)) Forget();
    if (ranking_.Reserve(batch.queries.size())) Forget();
    cache_ = static_cast<DeviceKvCache*>(&cache);
    logit_rows_ = Size(static_cast<std::int64_t>(batch.logit_rows.size()));
    ranges_ = step_.ranges();
  }

  void Run(std::int32_t part, const std::function<void()>& operators) override {
    Recorded& recorded = recordings_[KeyOf(part)];
    if (recorded.last_used == 0) {
      recorder_.emplace(*device_, scratch_);
      share_ = 0;
      cuts_.clear();
      operators();
      recorded.recordings = std::move(cuts_);
      recorded.recordings.push_back(recorder_->Finish());
      recorder_.reset();
    }
    recorded.last_used = ++clock_;
    for (const Recording& recording : recorded.recordings) {
      Add(recording, &recording != recorded.recordings.data());
    }
  }

  void Embed(const Matrix& table, float scale, mlc::Buffer& out) override {
    const DeviceMatrix& matrix = MatrixOf(table);
    const Kernel& kernel =
        device_->GetKernel(EmbedProgram(), {static_cast<std::uint32_t>(matrix.encoding)});
    for (const DeviceMatrix::Part& part : matrix.parts) {
      recorder_->Dispatch(
          kernel, {part.values.slice(), matrix.ScalesOf(part), SliceOf(out), step_.slice()},
          EmbedShape{part.first_row, part.rows, matrix.cols, scale}, {step_.rows()});
    }
  }

  void Project(const NormSpec& norm, const Matrix& matrix, const mlc::Buffer* bias,
               const mlc::Buffer& x, std::int32_t, mlc::Buffer& out) override {
    Multiply({.matrix = MatrixOf(matrix),
              .x = SliceOf(x),
              .out = SliceOf(out),
              .norm = &SliceOf(*norm.weight),
              .epsilon = norm.epsilon,
              .bias = bias == nullptr ? nullptr : &SliceOf(*bias)});
  }

  void Attend(const AttentionSpec& spec, mlc::Buffer& qkv, mlc::Buffer* out) override {
    attention_.Record(*recorder_, spec, *cache_, step_, step_.sequences(), SliceOf(qkv),
                      out == nullptr ? nullptr : &SliceOf(*out), count_);
  }

  void AddProject(const Matrix& matrix, const NormSpec* post_norm, const mlc::Buffer& x,
                  std::int32_t rows, mlc::Buffer& residual) override {
    const DeviceMatrix& weight = MatrixOf(matrix);
    if (post_norm == nullptr) {
      Multiply({.matrix = weight,
                .x = SliceOf(x),
                .out = SliceOf(residual),
                .epilogue = Epilogue::kAdd});
      return;
    }
    const Slice delta = recorder_->Scratch(ScratchPool::kDelta,
                                           Size(rows) * std::size_t{weight.rows} * sizeof(float));
    Multiply({.matrix = weight, .x = SliceOf(x), .out = delta});
    const std::uint32_t adds = 1, lanes = device_->software() ? 8 : 128;
    recorder_->Dispatch(device_->GetKernel(NormProgram(), {adds, lanes}),
                        {delta, SliceOf(*post_norm->weight), SliceOf(residual)},
                        NormShape{weight.rows, post_norm->epsilon}, {Size(rows)});
  }

  void Gate(const NormSpec& norm, const Matrix& matrix, Activation activation, const mlc::Buffer& x,
            std::int32_t, mlc::Buffer& out) override {
    Multiply({.matrix = MatrixOf(matrix),
              .x = SliceOf(x),
              .out = SliceOf(out),
              .norm = &SliceOf(*norm.weight),
              .epsilon = norm.epsilon,
              .epilogue = Epilogue::kGate,
              .activation = activation});
  }

  void GatherRows(const mlc::Buffer& x, std::int32_t width, mlc::Buffer& out) override {
    recorder_->Dispatch(device_->GetKernel(GatherProgram(), {}),
                        {SliceOf(x), SliceOf(out), step_.slice()}, GatherShape{Size(width)},
                        {logit_rows_});
    ranges_ = {{.first = 0, .count = logit_rows_}};
  }

  void Logits(const NormSpec& norm, const Matrix& matrix, float cap, const mlc::Buffer& x,
              std::int32_t first_row, std::int32_t rows, mlc::Buffer& out) override {
    const DeviceMatrix& weight = MatrixOf(matrix);
    const bool picked = logit_rows_ < step_.rows();
    const VkDeviceSize row_bytes = VkDeviceSize{weight.cols} * sizeof(float);
    matmul_.Record(
        *recorder_,
        {.matrix = weight,
         .x = SliceOf(x).Part(Size(first_row) * row_bytes, Size(rows) * row_bytes),
         .out = SliceOf(out),
         .norm = &SliceOf(*norm.weight),
         .epsilon = norm.epsilon,
         .epilogue = cap > 0 ? Epilogue::kCap : Epilogue::kStore,
         .cap = cap},
        Cut(picked ? std::vector<RowRange>{{.first = 0, .count = logit_rows_}} : step_.ranges(),
            Size(first_row), Size(rows)),
        count_);
  }

  bool ranks_tokens() const override { return true; }

  void RankTokens(mlc::Buffer& logits, std::int32_t vocab) override {
    ranking_.Record(*recorder_, step_, SliceOf(logits), logit_rows_, Size(vocab));
  }

  void ReadRanked(std::span<Shortlist> out) override {
    Submit(std::exchange(pending_, {}));
    work_.returned_bytes += ranking_.Take(out);
  }

  StepWork work() const override { return work_; }

  void Read(const mlc::Buffer& x, std::size_t first, std::span<float> out) override {
    // A row that nobody reads says whether its dispatches waited in vain, nevertheless.
    const bool overlapped = overlaps_ && step_.rows() == 1;
    const std::size_t bytes = out.empty() && overlapped ? sizeof(float) : out.size_bytes();
    if (bytes > 0) AddCopy(SliceOf(x).Part(first * sizeof(float), bytes));
    work_.returned_bytes += static_cast<std::int64_t>(out.size_bytes());
    Submit(std::exchange(pending_, {}));
    std::ranges::copy(readback_.Mapped<float>().first(out.size()), out.begin());
  }

 private:
  /// A product in the middle of a model.
  void Multiply(Product product) {
    product.awaited = true;
    matmul_.Record(*recorder_, product, ranges_, count_);
  }

  void Add(const Recording& recording, bool apart = false) {
    if (pending_.empty() || apart) pending_.emplace_back();
    pending_.back().push_back(recording.commands.buffer);
    work_.dispatches += recording.work.dispatches;
    work_.barriers += recording.work.barriers;
  }

  /// Brings `from` to the host. Most steps that read at all read what the last one did: some
  /// drivers take longer to make a command buffer than to run it.
  void AddCopy(const Slice& from) {
    if (copy_.commands.buffer == nullptr || from != copied_) {
      copy_ = {};
      if (readback_.slice().size < from.size) {
        readback_ = {};
        readback_ = device_->memory().Allocate(from.size, Place::kReadback);
      }
      Recorder recorder(*device_, scratch_);
      recorder.Copy(from, readback_.slice().Part(0, from.size));
      recorder.ShowHost();
      copy_ = recorder.Finish();
      copied_ = from;
    }
    Add(copy_);
  }

  using Submissions = std::vector<std::vector<VkCommandBuffer>>;

  void Submit(const Submissions& submissions) {
    if (submissions.empty()) return;
    for (const auto& buffers : submissions) {
      device_->Submit(buffers, &buffers == &submissions.back() ? fence_.get() : nullptr);
    }
    work_.submissions += std::ssize(submissions);
    device_->Wait(fence_.get());
    if (!scratch_.TakeFailure()) return;
    device_->StopOverlapping();
    throw std::runtime_error(
        "The driver of " + device_->physical().info.name +
        " ran a dispatch before the one that it waits for, so that a result is lost. From now on "
        "none relies on their order. Try again; MLC_LLM_VULKAN_HIDE=overlapping-dispatches avoids "
        "this from the beginning.");
  }

  void Forget() {
    recordings_.clear();
    copy_ = {};
  }

  struct Recorded {
    std::vector<Recording> recordings;  ///< each for a submission of its own
    std::uint64_t last_used = 0;
  };
  using Key = std::vector<std::uint32_t>;

  /// What a recording of `part` depends on.
  Key KeyOf(std::int32_t part) {
    Key key = {Size(part), Size(cache_->id()), logit_rows_, step_.room(), step_.adjusts()};
    for (const RowRange& range : step_.sequences())
      key.insert(key.end(), {range.count, range.prompt});
    if (recordings_.size() >= kMostRecordings && !recordings_.contains(key)) {
      recordings_.erase(std::ranges::min_element(
          recordings_, {}, [](const auto& entry) { return entry.second.last_used; }));
    }
    return key;
  }

  /// What of `ranges` lies in [first, first + count), with `first` as row 0.
  static std::vector<RowRange> Cut(std::span<const RowRange> ranges, std::uint32_t first,
                                   std::uint32_t count) {
    std::vector<RowRange> cut;
    for (const RowRange& range : ranges) {
      const std::uint32_t begin = std::max(range.first, first);
      const std::uint32_t end = std::min(range.first + range.count, first + count);
      if (begin < end) cut.push_back({begin - first, end - begin, range.prompt});
    }
    return cut;
  }

  const std::shared_ptr<Device> device_;  // first, so that it outlives what is made of it
  Uploader uploader_{*device_};
  const MatMul matmul_{*device_};
  const Attention attention_{*device_};
  Step step_{*device_};
  Ranking ranking_{*device_};
  bool overlaps_ = device_->overlaps();
  ScratchPool scratch_{overlaps_};
  Allocation readback_;
  Recording copy_;  ///< of `copied_` to `readback_`
  Slice copied_;
  const Owned<VkFence> fence_ = device_->MakeFence();

  // Of the step.
  DeviceKvCache* cache_ = nullptr;
  std::uint32_t logit_rows_ = 0;
  std::vector<RowRange> ranges_;
  Submissions pending_;
  StepWork work_;

  // Of the part that is being recorded.
  std::optional<Recorder> recorder_;
  std::vector<Recording> cuts_;
  double share_ = 0;  ///< of the longest submission, since the last cut
  /// Begins another recording, for a submission of its own, where this one is long enough.
  const Count count_ = [this](double share) {
    share_ += share;
    if (share_ < 1) return;
    share_ = 0;
    cuts_.push_back(recorder_->Finish());
    recorder_.emplace(*device_, scratch_);
  };
  std::map<Key, Recorded> recordings_;
  std::uint64_t clock_ = 0;
};

}  // namespace

std::shared_ptr<Backend> MakeBackend(std::uint32_t device) {
  return std::make_shared<VulkanBackend>(OpenDevice(device));
}

}  // namespace mlc::vulkan
