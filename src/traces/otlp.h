#pragma once

#include "traces/traces.h"

/// Spans as OpenTelemetry's exporters send them (OTLP over HTTP: ExportTraceServiceRequest). All errors are `invalid`.
namespace lathe::traces {

constexpr std::size_t kMostOtlpBytes = std::size_t{16} << 20;  ///< also when it is unpacked
constexpr std::size_t kMostSpansPerRequest = 10'000;
constexpr std::size_t kMostValuesPerRequest = 250'000;  ///< attributes, and whatever they hold

Result<std::vector<Span>> read_otlp_protobuf(std::string_view body);
/// OTLP's own mapping: ids in hex, names in camelCase.
Result<std::vector<Span>> read_otlp_json(std::string_view body);

/// A span's content (Span::content) as MLflow's API answers it: OTLP's message in protobuf's JSON, names in snake_case.
json::Object otlp_of(std::string_view content);

/// By its Content-Encoding: "gzip", "deflate", or "" and "identity" for a body that is not packed.
Result<std::string> unpacked(std::string body, std::string_view encoding);

}  // namespace lathe::traces
