#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "infer/http/request_parser.h"

/// What lets pages of other web sites ask (the CORS protocol of the Fetch standard). `origins`: the sites that may, or
/// "*".
namespace lathe::infer::http {

bool allows_origin(const std::vector<std::string>& origins, std::string_view origin);

/// The lines of a reply's head, each with its CR LF; `headers` are those that it has already: what a scoring script
/// decides itself is left to it.
std::string cors_lines(const std::vector<std::string>& origins, const Request& request, std::string_view headers);

/// A browser asks whether it may ask.
bool is_preflight(const Request& request);
/// What it is told, when it may.
std::string preflight_lines(const std::vector<std::string>& origins, const Request& request, std::string_view method);

}  // namespace lathe::infer::http
