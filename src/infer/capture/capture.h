#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "infer/desired_state.h"
#include "infer/http/request_parser.h"
#include "infer/runtimes/runtime.h"

/// Copies of what models were asked and have answered, for who watches how both change (docs/guide/inference.md).
namespace lathe::infer {

class CaptureWriter;

/// Since the process started; a prediction counts once for each collection.
struct CaptureCounts {
  std::atomic<std::uint64_t> written{0};
  std::atomic<std::uint64_t> dropped{0};  ///< too many waited, or they could not be written
};

/// One side of a prediction: tensors, or a body that Lathe did not read.
struct CapturedSide {
  std::vector<Tensor> tensors;
  std::string body;
  bool is_body = false;
  std::string omitted;  ///< what was larger than an entry may be, as JSON; empty: nothing
};

/// A prediction that is kept, on its way to the files.
struct CapturedPrediction {
  std::shared_ptr<const class Capture> capture;
  std::shared_ptr<const Model> model;  ///< names the columns
  std::int64_t time_us = 0;            ///< since 1970
  unsigned collections = 0;            ///< a bit for each of the capture's
  std::string request_id;              ///< of the client; or empty
  std::vector<std::pair<std::string, std::string>> headers;
  CapturedSide inputs;
  CapturedSide outputs;

  std::size_t bytes() const;
};

/// Of one deployment. Thread-safe.
class Capture : public std::enable_shared_from_this<Capture> {
 public:
  /// More bytes of one side are described, not kept.
  static constexpr std::size_t kMostBytes = std::size_t{1} << 20;

  Capture(std::string endpoint, const DesiredDeployment& desired, std::shared_ptr<CaptureCounts> counts,
          CaptureWriter& writer);

  /// Copies what the sampling picks of a prediction that was computed, and returns at once. Never throws.
  void take(const http::Request& request, const std::shared_ptr<const Model>& model, const std::vector<Tensor>& inputs,
            const std::vector<Tensor>& outputs) const noexcept;
  /// The same of bodies that only a worker has read.
  void take_bodies(const http::Request& request, const std::shared_ptr<const Model>& model,
                   std::string_view answer) const noexcept;

  const std::string endpoint;
  const std::string deployment;
  const std::string model_name;
  const std::string model_version;
  const DesiredCapture desired;
  const std::shared_ptr<CaptureCounts> counts;

 private:
  /// A bit for each collection that keeps this prediction. A collection of a higher rate keeps what one of a lower rate
  /// does, and of any N predictions in a row it keeps N times its rate, to a few.
  unsigned pick() const;
  CapturedPrediction begin(const http::Request& request, const std::shared_ptr<const Model>& model,
                           unsigned picked) const;
  void send(CapturedPrediction prediction) const;

  CaptureWriter& writer_;
  std::vector<std::uint64_t> thresholds_;  ///< of each collection, out of 2^64
  mutable std::atomic<std::uint64_t> turn_{0};
};

/// Whether a collection of this name holds what models answered; else it holds what they were asked.
bool holds_outputs(std::string_view collection);

/// The lines of the prediction for one of its collections, without its end. `id`: of the line; `correlation`: of all
/// lines of the prediction.
std::string print_line(const CapturedPrediction& prediction, std::size_t collection, std::string_view id,
                       std::string_view correlation);

}  // namespace lathe::infer
