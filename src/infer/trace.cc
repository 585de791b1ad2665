#include "infer/trace.h"

#include <charconv>
#include <chrono>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/text.h"
#include "infer/grpc/wire.h"
#include "infer/protocols/tensor_json.h"
#include "json/json.h"

namespace lathe::infer {
namespace {

constexpr std::size_t kMostTraces = 1000;
constexpr std::int64_t kRate = 1000;
constexpr std::string_view kLevel = "trace_level";
constexpr std::string_view kRateName = "trace_rate";
constexpr std::string_view kCount = "trace_count";
constexpr std::string_view kLogFrequency = "log_frequency";

/// Errors: `invalid`.
Result<std::int64_t> read_number(std::string_view name, std::string_view text, std::int64_t least) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc{} && end == text.data() + text.size() && value >= least) return value;
  return fail(Code::invalid, std::string(name) + ": must be a whole number from " + std::to_string(least) +
                                 " as a text, not \"" + printable(text) + "\"");
}

/// `values`: of the setting; empty: it is taken back.
Result<void> take(const std::string& name, const std::vector<std::string>& values, TraceChange& change) {
  const auto number = [&](std::int64_t least) -> Result<std::optional<std::int64_t>> {
    if (values.empty()) return std::optional<std::int64_t>{};
    if (values.size() > 1) return fail(Code::invalid, name + ": must be one text");
    LATHE_TRY(const auto value, read_number(name, values.front(), least));
    return std::optional(value);
  };
  if (name == kLevel) {
    change.timestamps.emplace();
    for (const auto& each : values) {
      if (each != "OFF" && each != "TIMESTAMPS")
        return fail(Code::invalid, name + ": must be OFF or TIMESTAMPS, not \"" + printable(each) +
                                       "\"; data_collector of a deployment keeps tensors");
      change.timestamps = change.timestamps->value_or(false) || each == "TIMESTAMPS";
    }
    return {};
  }
  if (name == kRateName) {
    LATHE_TRY(change.rate, number(1));
    return {};
  }
  if (name == kCount) {
    LATHE_TRY(change.count, number(-1));
    return {};
  }
  if (name == kLogFrequency) {
    LATHE_TRY(change.log_frequency, number(0));
    return {};
  }
  if (name == "trace_file")
    return values.empty() || (values.size() == 1 && values.front().empty())
               ? Result<void>()
               : fail(Code::invalid, "trace_file: no file is written; GET /v2/trace answers the last traces");
  return fail(Code::invalid, "there is no setting " + printable(name) +
                                 " of traces: trace_level, trace_rate, trace_count and log_frequency can be changed");
}

/// The list of one setting in JSON: a text, a number, or a list of texts; null: none.
Result<std::vector<std::string>> values_of(const std::string& name, const json::Value& value) {
  if (value.is_null()) return std::vector<std::string>{};
  if (value.is_string()) return std::vector{std::string(json::view(value.get_string()))};
  if (value.is_int64()) return std::vector{json::print(value)};
  std::vector<std::string> out;
  const bool list = value.is_array();
  for (const auto& each : list ? value.get_array() : json::Array{}) {
    if (!each.is_string()) return fail(Code::invalid, name + ": must hold texts");
    out.emplace_back(json::view(each.get_string()));
  }
  if (list && !out.empty()) return out;
  return fail(Code::invalid, name + ": must be a text, or a list of texts");
}

/// In the form of both protocols: a name, and its values.
std::vector<std::pair<std::string_view, std::string>> printed(const TraceSettings& settings) {
  return {{kLevel, settings.timestamps.value_or(false) ? "TIMESTAMPS" : "OFF"},
          {kRateName, std::to_string(settings.rate.value_or(kRate))},
          {kCount, std::to_string(settings.count.value_or(-1))},
          {kLogFrequency, std::to_string(settings.log_frequency.value_or(0))},
          {"trace_file", ""}};
}

void append_time(std::string& out, std::string_view name, std::int64_t ns) {
  out += out.back() == '[' ? R"({"name":")" : R"(,{"name":")";
  out += name;
  out += R"(","ns":)" + std::to_string(ns) + '}';
}

/// The names are Triton's, in the order in which they happened.
void append_timestamps(std::string& out, const Timing& timing, std::int64_t end_ns) {
  const auto total = timing.queue + timing.parse + timing.lookup + timing.compute + timing.write;
  auto at = end_ns - total.count();
  append_time(out, "REQUEST_START", at);
  const auto looked_up = [&] {
    if (timing.cache == Timing::Cache::none) return;
    append_time(out, "CACHE_LOOKUP_START", at);
    append_time(out, "CACHE_LOOKUP_END", at += timing.lookup.count());
  };
  if (timing.batched) {  // decoded before it waits for others
    at += timing.parse.count();
    looked_up();
  }
  append_time(out, "QUEUE_START", at);
  append_time(out, "COMPUTE_START", at += timing.queue.count());
  if (!timing.batched) at += timing.parse.count();
  append_time(out, "COMPUTE_INPUT_END", at);
  if (!timing.batched) looked_up();
  append_time(out, "COMPUTE_OUTPUT_START", at += timing.compute.count());
  append_time(out, "COMPUTE_END", at += timing.write.count());
  append_time(out, "REQUEST_END", at);
}

}  // namespace

TraceSettings Traces::effective(const std::string& model) const {
  TraceSettings out;
  const auto add = [&](std::string_view name) {
    const auto found = scopes_.find(name);
    if (found == scopes_.end()) return;
    const auto& set = found->second.set;
    if (set.timestamps) out.timestamps = set.timestamps;
    if (set.rate) out.rate = set.rate;
    if (set.count) out.count = set.count;
    if (set.log_frequency) out.log_frequency = set.log_frequency;
  };
  add("");
  if (const auto dot = model.rfind('.'); dot != std::string::npos) add(std::string_view(model).substr(0, dot));
  if (!model.empty()) add(model);
  return out;
}

void Traces::add(std::string_view deployment, std::string_view version, int status, const Timing& timing) {
  using std::chrono::nanoseconds;
  const auto now = std::chrono::duration_cast<nanoseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  const std::lock_guard lock(mutex_);
  const std::string model(deployment);
  const auto settings = effective(model);
  if (!settings.timestamps.value_or(false) || settings.count == 0) return;
  auto& own = scopes_[model];
  if (++own.seen % static_cast<std::uint64_t>(settings.rate.value_or(kRate)) != 0) return;
  // The count is that of whoever set it.
  for (const auto& name : {model, model.substr(0, model.rfind('.')), std::string{}})
    if (const auto scope = scopes_.find(name); scope != scopes_.end() && scope->second.set.count) {
      if (*scope->second.set.count > 0) --*scope->second.set.count;
      break;
    }
  std::string text = R"({"id":)" + std::to_string(++last_id_) + R"(,"model_name":)";
  append_text(text, deployment);
  text += R"(,"model_version":)";
  append_text(text, version);
  text += R"(,"status":)" + std::to_string(status) + R"(,"timestamps":[)";
  append_timestamps(text, timing, now);
  traces_.push_back({model, text + "]}"});
  if (traces_.size() > kMostTraces) traces_.pop_front();
  const auto frequency = static_cast<std::uint64_t>(settings.log_frequency.value_or(0));
  if (frequency == 0 || ++own.unlogged < frequency) return;
  std::string list;
  auto left = std::exchange(own.unlogged, 0);
  for (auto each = traces_.rbegin(); each != traces_.rend() && left > 0; ++each)
    if (each->model == model && left-- > 0) list = each->text + (list.empty() ? "" : ",") + list;
  log::info("traces model={} traces=[{}]", model, list);
}

std::string Traces::settings_json(const std::string& model) const {
  const std::lock_guard lock(mutex_);
  json::Object out;
  for (const auto& [name, value] : printed(effective(model)))
    if (name == kLevel)
      out[name] = json::Array{json::Value(value)};
    else
      out[name] = value;
  return json::print(std::move(out));
}

std::string Traces::settings_message(const std::string& model) const {
  const std::lock_guard lock(mutex_);
  std::string out;
  for (const auto& [name, value] : printed(effective(model))) {
    std::string list;
    wire::put_bytes(list, 1, value);
    wire::put_entry(out, 1, name, list);
  }
  return out;
}

Result<void> Traces::change(const std::string& model, std::string_view text) {
  if (trim(text).empty()) return {};
  LATHE_TRY(const auto document, json::parse_object(text));
  TraceChange change;
  for (const auto& member : document) {
    const std::string name(member.key().data(), member.key().size());
    LATHE_TRY(const auto values, values_of(name, member.value()));
    LATHE_CHECK(take(name, values, change));
  }
  apply(model, change);
  return {};
}

Result<void> Traces::change_by_message(const std::string& model, std::string_view message) {
  TraceChange change;
  wire::Reader reader(message);
  wire::Field field;
  while (reader.next(field)) {
    if (field.number != 1) continue;
    std::string name;
    std::vector<std::string> values;
    wire::Reader entry(field.bytes);
    wire::Field part;
    while (entry.next(part)) {
      if (part.number == 1) name = part.bytes;
      if (part.number != 2) continue;
      wire::Reader list(part.bytes);
      wire::Field value;
      while (list.next(value))
        if (value.number == 1) values.emplace_back(value.bytes);
      if (!list.good()) return fail(Code::invalid, "a setting is not a message of the protocol");
    }
    if (!entry.good()) return fail(Code::invalid, "a setting is not a message of the protocol");
    LATHE_CHECK(take(name, values, change));
  }
  if (!reader.good()) return fail(Code::invalid, "the request is not a message of the protocol");
  apply(model, change);
  return {};
}

void Traces::apply(const std::string& model, const TraceChange& change) {
  const std::lock_guard lock(mutex_);
  auto& set = scopes_[model].set;
  if (change.timestamps) set.timestamps = *change.timestamps;
  if (change.rate) set.rate = *change.rate;
  if (change.count) set.count = *change.count;
  if (change.log_frequency) set.log_frequency = *change.log_frequency;
  bool any = false;
  for (const auto& [name, scope] : scopes_) any = any || scope.set.timestamps.value_or(false);
  on_ = any;
}

std::string Traces::json(const std::string& model) const {
  const std::lock_guard lock(mutex_);
  std::string out = "[";
  for (const auto& each : traces_) {
    if (!model.empty() && each.model != model && !each.model.starts_with(model + '.')) continue;
    if (out.size() > 1) out += ',';
    out += each.text;
  }
  return out + ']';
}

Traces& traces() {
  static Traces all;
  return all;
}

}  // namespace lathe::infer
