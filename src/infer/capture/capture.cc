#include "infer/capture/capture.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <exception>
#include <limits>

#include "base/text.h"
#include "base/time.h"
#include "base/version.h"
#include "infer/capture/capture_writer.h"
#include "infer/capture/records.h"
#include "infer/protocols/infer_request.h"
#include "infer/protocols/tensor_json.h"
#include "json/json.h"

namespace lathe::infer {
namespace {

constexpr std::size_t kLongestId = 256;
constexpr std::size_t kLongestHeader = 4096;
constexpr std::size_t kLongestData = std::size_t{8} << 20;  ///< of a line

std::string text_of(std::string_view text, std::size_t most) {
  return printable(text.substr(0, most));
}

/// What tensors were, without their elements.
std::string description_of(const std::vector<Tensor>& tensors) {
  std::string out = "[";
  for (const auto& each : tensors) {
    out += out.size() == 1 ? R"({"name":)" : R"(,{"name":)";
    append_text(out, printable(each.name));
    out += R"(,"datatype":")" + std::string(name_of(each.type)) + R"(","shape":)";
    append_shape(out, each.shape);
    out += R"(,"bytes":)" + std::to_string(bytes_of(each)) + '}';
  }
  return out + ']';
}

std::string description_of(std::string_view body) {
  return R"([{"bytes":)" + std::to_string(body.size()) + "}]";
}

CapturedSide keep(const std::vector<Tensor>& tensors) {
  CapturedSide out;
  std::size_t bytes = 0;
  for (const auto& each : tensors) bytes += bytes_of(each);
  if (bytes <= Capture::kMostBytes) {
    out.tensors = tensors;
    return out;
  }
  out.omitted = description_of(tensors);
  return out;
}

CapturedSide keep(std::string_view body) {
  CapturedSide out;
  out.is_body = true;
  if (body.size() <= Capture::kMostBytes)
    out.body = body;
  else
    out.omitted = description_of(body);
  return out;
}

std::size_t size_of_side(const CapturedSide& side) {
  std::size_t bytes = side.body.size() + side.omitted.size();
  for (const auto& each : side.tensors) bytes += bytes_of(each);
  return bytes;
}

void append_member(std::string& out, std::string_view name, std::string_view text) {
  out += ",\"";
  out += name;
  out += "\":";
  append_text(out, text);
}

}  // namespace

bool holds_outputs(std::string_view collection) {
  return collection == "model_outputs" || collection == "response";
}

std::size_t CapturedPrediction::bytes() const {
  constexpr std::size_t kOfItself = 512;
  std::size_t bytes = kOfItself + size_of_side(inputs) + size_of_side(outputs);
  for (const auto& [name, value] : headers) bytes += name.size() + value.size();
  return bytes;
}

Capture::Capture(std::string endpoint_name, const DesiredDeployment& wanted, std::shared_ptr<CaptureCounts> counters,
                 CaptureWriter& writer)
    : endpoint(std::move(endpoint_name)),
      deployment(wanted.name),
      model_name(wanted.model.name),
      model_version(wanted.model.version),
      desired(*wanted.capture),
      counts(std::move(counters)),
      writer_(writer) {
  for (const auto& each : desired.collections)
    thresholds_.push_back(each.sampling_rate >= 1 ? std::numeric_limits<std::uint64_t>::max()
                                                  : static_cast<std::uint64_t>(std::ldexp(each.sampling_rate, 64)));
}

unsigned Capture::pick() const {
  // Multiples of the golden ratio fill the range evenly, however few there are (Knuth, TAOCP 3, 6.4).
  constexpr std::uint64_t kGoldenRatio = 0x9E3779B97F4A7C15;
  const auto place = turn_.fetch_add(1, std::memory_order_relaxed) * kGoldenRatio;
  unsigned picked = 0;
  for (std::size_t i = 0; i < thresholds_.size(); ++i)
    if (place < thresholds_[i]) picked |= 1U << i;
  return picked;
}

CapturedPrediction Capture::begin(const http::Request& request, const std::shared_ptr<const Model>& model,
                                  unsigned picked) const {
  CapturedPrediction out;
  out.capture = shared_from_this();
  out.model = model;
  out.time_us = micros(now());
  out.collections = picked;
  auto id = request.header("x-request-id");
  if (id.empty()) id = request.header("x-ms-client-request-id");
  out.request_id = text_of(id, kLongestId);
  for (const auto& name : desired.headers)
    if (const auto value = request.header(name); !value.empty())
      out.headers.emplace_back(name, text_of(value, kLongestHeader));
  return out;
}

void Capture::send(CapturedPrediction prediction) const {
  const auto lines = static_cast<std::uint64_t>(std::popcount(prediction.collections));
  if (!writer_.add(std::move(prediction))) counts->dropped.fetch_add(lines, std::memory_order_relaxed);
}

void Capture::take(const http::Request& request, const std::shared_ptr<const Model>& model,
                   const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs) const noexcept {
  const auto picked = pick();
  if (picked == 0) return;
  try {
    auto prediction = begin(request, model, picked);
    prediction.inputs = keep(inputs);
    prediction.outputs = keep(outputs);
    send(std::move(prediction));
  } catch (const std::exception&) {  // there is no memory for it
    counts->dropped.fetch_add(1, std::memory_order_relaxed);
  }
}

void Capture::take_bodies(const http::Request& request, const std::shared_ptr<const Model>& model,
                          std::string_view answer) const noexcept {
  const auto picked = pick();
  if (picked == 0) return;
  try {
    auto prediction = begin(request, model, picked);
    prediction.inputs = keep(request.body);
    prediction.outputs = keep(answer);
    send(std::move(prediction));
  } catch (const std::exception&) {
    counts->dropped.fetch_add(1, std::memory_order_relaxed);
  }
}

std::string print_line(const CapturedPrediction& prediction, std::size_t collection, std::string_view id,
                       std::string_view correlation) {
  const auto& capture = *prediction.capture;
  const auto& name = capture.desired.collections[collection].name;
  const bool outputs = holds_outputs(name);
  const auto& side = outputs ? prediction.outputs : prediction.inputs;
  std::string out = R"({"specversion":"1.0")";
  append_member(out, "id", id);
  append_member(out, "source", "/online-endpoints/" + capture.endpoint + "/deployments/" + capture.deployment);
  append_member(out, "type", "azureml.inference." + name);
  append_member(out, "time", to_iso8601(from_micros(prediction.time_us)));
  append_member(out, "correlationid", correlation);
  append_member(out, "xrequestid", prediction.request_id.empty() ? correlation : prediction.request_id);
  append_member(out, "endpoint", capture.endpoint);
  append_member(out, "deployment", capture.deployment);
  append_member(out, "modelname", printable(capture.model_name));
  append_member(out, "modelversion", printable(capture.model_version));
  append_member(out, "agent", "lathe/" + std::string(version()));
  if (!prediction.headers.empty()) {
    json::Object headers;
    for (const auto& [key, value] : prediction.headers) headers[key] = value;
    out += ",\"headers\":" + json::print(headers);
  }
  const auto before_data = out.size();
  if (side.is_body && side.omitted.empty()) {
    out += ',' + body_members(side.body);
  } else {
    out += R"(,"datacontenttype":"application/json","data":)";
    append_records(out, side.tensors, outputs ? std::vector<std::string>{} : prediction.model->columns());
  }
  const bool too_long = out.size() - before_data > kLongestData;  // many short rows have long names
  if (too_long) {
    out.resize(before_data);
    out += R"(,"datacontenttype":"application/json","data":[])";
  }
  if (!side.omitted.empty())
    out += ",\"omitted\":" + side.omitted;
  else if (too_long)
    out += ",\"omitted\":" + (side.is_body ? description_of(side.body) : description_of(side.tensors));
  return out + '}';
}

}  // namespace lathe::infer
