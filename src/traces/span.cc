#include "traces/span.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/digest.h"
#include "base/hex.h"
#include "tracking/validation.h"

namespace lathe::traces {
namespace {

constexpr std::size_t kPreviewLimit = 1000;
constexpr std::size_t kTypeLimit = 250;

boost::json::string_view text_of(std::string_view text) {
  return {text.data(), text.size()};
}

/// The text of an attribute that is one, else what it is in JSON; empty when there is none.
std::string shown(const json::Object& attributes, std::string_view key) {
  const auto* value = json::find(attributes, key);
  if (value == nullptr) return {};
  return value->is_string() ? std::string(json::view(value->get_string())) : json::print(*value);
}

/// Previews are JSON.
std::string preview(const json::Object& attributes, std::string_view key) {
  const auto* value = json::find(attributes, key);
  return value == nullptr ? "" : std::string(tracking::first_characters(json::print(*value), kPreviewLimit));
}

Result<std::int64_t> nanoseconds(std::uint64_t value) {
  if (value <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
    return static_cast<std::int64_t>(value);
  return fail(Code::invalid, fmt::format("a time of {} ns lies too far in the future", value));
}

bool is_id(std::string_view bytes, std::size_t size) {
  return bytes.size() == size && std::any_of(bytes.begin(), bytes.end(), [](char c) { return c != '\0'; });
}

/// MLflow keeps each attribute as the text of its JSON.
json::Object dumped(const json::Object& attributes, const std::string& trace_id) {
  json::Object out{{"mlflow.traceRequestId", json::print(json::Value(text_of(trace_id)))}};
  for (const auto& member : attributes)
    if (member.key() != "mlflow.traceRequestId") out[member.key()] = json::print(member.value());
  return out;
}

json::Array events_of(const SentSpan& sent) {
  json::Array out;
  for (const auto& event : sent.events)
    out.push_back(
        json::Object{{"name", event.name}, {"time_unix_nano", event.at_ns}, {"attributes", event.attributes}});
  return out;
}

json::Array links_of(const SentSpan& sent) {
  json::Array out;
  for (const auto& link : sent.links)
    out.push_back(json::Object{{"trace_id", "tr-" + to_hex(link.trace_id)},
                               {"span_id", to_hex(link.span_id)},
                               {"attributes", link.attributes}});
  return out;
}

std::string content_of(const SentSpan& sent, const Span& span) {
  json::Object out{{"trace_id", base64_encode(sent.trace_id)},
                   {"span_id", base64_encode(sent.span_id)},
                   {"parent_span_id", span.parent_id.empty() ? json::Value(nullptr)
                                                             : json::Value(text_of(base64_encode(sent.parent_id)))},
                   {"name", sent.name},
                   {"start_time_unix_nano", span.start_ns},
                   {"end_time_unix_nano", span.end_ns == 0 ? json::Value(nullptr) : json::Value(span.end_ns)},
                   {"events", events_of(sent)},
                   {"status", json::Object{{"code", "STATUS_CODE_" + span.status}, {"message", sent.status_message}}},
                   {"attributes", dumped(sent.attributes, span.trace_id)},
                   {"links", links_of(sent)}};
  return json::print(out);
}

}  // namespace

Result<void> Budget::take_span() {
  if (++spans_ <= kMostSpansPerRequest) return {};
  return fail(Code::invalid,
              fmt::format("a request may hold at most {} spans: send them in several", kMostSpansPerRequest));
}

Result<void> Budget::take_value() {
  if (++values_ <= kMostValuesPerRequest) return {};
  return fail(Code::invalid,
              fmt::format("the attributes of a request may hold at most {} values: send the spans in several requests",
                          kMostValuesPerRequest));
}

Result<Span> make_span(const SentSpan& sent) {
  if (!is_id(sent.trace_id, 16))
    return fail(Code::invalid, "the trace_id of a span must be 16 bytes, not all of them zero");
  if (!is_id(sent.span_id, 8))
    return fail(Code::invalid, "the span_id of a span must be 8 bytes, not all of them zero");
  const bool root = !is_id(sent.parent_id, 8);
  if (root && !sent.parent_id.empty() && sent.parent_id.size() != 8)
    return fail(Code::invalid, "the parent_span_id of a span must be 8 bytes, or empty");
  for (const auto& link : sent.links)
    if (link.trace_id.size() != 16 || link.span_id.size() != 8)
      return fail(Code::invalid, "a link must name a trace by 16 bytes and a span by 8");
  Span out;
  out.trace_id = "tr-" + to_hex(sent.trace_id);
  out.id = to_hex(sent.span_id);
  if (!root) out.parent_id = to_hex(sent.parent_id);
  LATHE_CHECK(tracking::check_text("a span's name", sent.name));
  out.name = sent.name;
  out.type = std::string(tracking::first_characters(shown(sent.attributes, "mlflow.spanType"), kTypeLimit));
  LATHE_CHECK(tracking::check_text("mlflow.spanType", out.type));
  out.status = sent.status == 1 ? "OK" : sent.status == 2 ? "ERROR" : "UNSET";
  LATHE_TRY(out.start_ns, nanoseconds(sent.start_ns));
  LATHE_TRY(out.end_ns, nanoseconds(sent.end_ns));
  if (const auto* usage = json::find(sent.attributes, "mlflow.chat.tokenUsage"); usage != nullptr && usage->is_object())
    out.usage = json::print(*usage);
  if (root) {
    out.request_preview = preview(sent.attributes, "mlflow.spanInputs");
    out.response_preview = preview(sent.attributes, "mlflow.spanOutputs");
    out.session = shown(sent.attributes, "mlflow.trace.session");
    out.user = shown(sent.attributes, "mlflow.trace.user");
    LATHE_CHECK(tracking::check_text("mlflow.trace.session", out.session));
    LATHE_CHECK(tracking::check_text("mlflow.trace.user", out.user));
  }
  out.content = content_of(sent, out);
  return out;
}

}  // namespace lathe::traces
