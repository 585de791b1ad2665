#include "base/text.h"
#include "base/version.h"
#include "http/http.h"

namespace lathe::http {
namespace {

boost::json::string_view as_json(std::string_view text) { return {text.data(), text.size()}; }

std::string_view right_name(Right right) {
  switch (right) {
    case Right::open: return "open";
    case Right::read: return "read";
    case Right::track: return "track";
    case Right::write: return "write";
    case Right::administer: return "administer";
  }
  return "administer";
}

json::Object operation(const Route& route, json::Object& components) {
  json::Object out{{"operationId", route.id}, {"summary", route.summary}, {"x-right", as_json(right_name(route.right))}};
  json::Array parameters;
  for (const auto part : split(route.path, '/')) {
    if (!part.starts_with('{')) continue;
    const auto name = part.substr(1, part.size() - (part.ends_with("*}") ? 3 : 2));
    parameters.push_back(
        json::Object{{"name", as_json(name)}, {"in", "path"}, {"required", true}, {"schema", {{"type", "string"}}}});
  }
  for (const auto& query : route.queries) {
    const json::Object one{{"type", as_json(query.type)}};
    json::Object parameter{{"name", as_json(query.name)}, {"in", "query"}, {"description", as_json(query.doc)}};
    parameter["schema"] = query.repeated ? json::Object{{"type", "array"}, {"items", one}} : one;
    if (query.required) parameter["required"] = true;
    parameters.push_back(std::move(parameter));
  }
  if (!parameters.empty()) out["parameters"] = std::move(parameters);
  const auto content = [&](const json::Value& schema) {
    return json::Object{{"application/json", json::Object{{"schema", schema}}}};
  };
  if (route.body_schema)
    out["requestBody"] = json::Object{{"required", true}, {"content", content(route.body_schema(components))}};
  json::Object success{{"description", "Success"}};
  if (route.answer_schema) success["content"] = content(route.answer_schema(components));
  const json::Object problem{
      {"description", "A problem (RFC 9457)"},
      {"content", {{"application/problem+json", {{"schema", {{"$ref", "#/components/schemas/Problem"}}}}}}}};
  out["responses"] = json::Object{{"2XX", std::move(success)}, {"default", problem}};
  if (route.right == Right::open) out["security"] = json::Array{};
  return out;
}

}  // namespace

json::Value openapi(const Router& router) {
  json::Object components{
      {"Problem",
       {{"type", "object"},
        {"properties",
         {{"type", {{"type", "string"}}},
          {"title", {{"type", "string"}}},
          {"status", {{"type", "integer"}}},
          {"detail", {{"type", "string"}, {"description", "what went wrong and what to do about it"}}}}}}}};
  json::Object paths;
  for (const auto& entry : router.entries()) {
    const auto& route = entry->route;
    if (!route.in_openapi) continue;
    std::string path = route.path;
    if (const auto star = path.find("*}"); star != std::string::npos) path.erase(star, 1);
    auto& item = paths[path];
    if (!item.is_object()) item.emplace_object();
    item.get_object()[to_lower(method_name(route.method))] = operation(route, components);
  }
  return json::Object{
      {"openapi", "3.1.0"},
      {"info", {{"title", "Lathe"}, {"version", version()}, {"license", {{"name", "Apache-2.0"}}}}},
      {"paths", std::move(paths)},
      {"components",
       {{"schemas", std::move(components)}, {"securitySchemes", {{"token", {{"type", "http"}, {"scheme", "bearer"}}}}}}},
      {"security", json::Array{json::Object{{"token", json::Array{}}}}}};
}

}  // namespace lathe::http
