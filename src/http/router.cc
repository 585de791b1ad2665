#include <algorithm>
#include <map>

#include "base/text.h"
#include "http/http.h"

namespace lathe::http {

/// One path segment. Literal children win over a parameter, a parameter over the rest.
struct Router::Node {
  std::map<std::string, std::shared_ptr<Node>, std::less<>> literals;
  std::shared_ptr<Node> parameter;
  std::shared_ptr<Node> rest;
  std::vector<const Entry*> entries;
};

std::string_view method_name(Method method) {
  switch (method) {
    case Method::get: return "GET";
    case Method::head: return "HEAD";
    case Method::post: return "POST";
    case Method::put: return "PUT";
    case Method::patch: return "PATCH";
    case Method::del: return "DELETE";
  }
  return "GET";
}

void Router::add(Route route, Plain handler) {
  entries_.push_back(std::make_unique<Entry>(Entry{std::move(route), std::move(handler), {}, {}}));
  const auto* entry = entries_.back().get();
  if (!root_) root_ = std::make_shared<Node>();
  auto* node = root_.get();
  for (const auto part : split(std::string_view(entry->route.path).substr(1), '/')) {
    if (part.starts_with('{') && part.ends_with("*}")) {
      if (!node->rest) node->rest = std::make_shared<Node>();
      node = node->rest.get();
    } else if (part.starts_with('{')) {
      // Two routes may call the same place differently: the names go with the entry, not the node.
      if (!node->parameter) node->parameter = std::make_shared<Node>();
      node = node->parameter.get();
    } else {
      auto& child = node->literals[std::string(part)];
      if (!child) child = std::make_shared<Node>();
      node = child.get();
    }
  }
  node->entries.push_back(entry);
}

void Router::add_async(Route route, Async handler) {
  add(std::move(route), {});
  entries_.back()->async = std::move(handler);
}

void Router::add_upload(Route route, Upload handler) {
  add(std::move(route), {});
  entries_.back()->upload = std::move(handler);
}

Router::Match Router::match(Method method, std::string_view path) const {
  Match out;
  if (!root_ || !path.starts_with('/')) return out;
  path.remove_prefix(1);
  const auto parts = split(path, '/');

  // Depth first, most literal first; the values of parameters are gathered on the way down.
  std::vector<std::string> values;
  const auto find = [&](auto&& self, const Node& node, std::size_t at) -> const Node* {
    if (at == parts.size() && !node.entries.empty()) return &node;
    if (at < parts.size()) {
      const auto part = parts[at];
      if (const auto child = node.literals.find(part); child != node.literals.end())
        if (const auto* found = self(self, *child->second, at + 1)) return found;
      if (node.parameter && !part.empty()) {
        values.push_back(url_decode(part));
        if (const auto* found = self(self, *node.parameter, at + 1)) return found;
        values.pop_back();
      }
    }
    // As MLflow's server does, and its clients rely on: "//a///b" is "/a/b". A rest keeps its slashes.
    if (!node.rest && at + 1 < parts.size() && parts[at].empty())
      if (const auto* found = self(self, node, at + 1)) return found;
    if (node.rest && !node.rest->entries.empty()) {
      std::string rest;
      for (std::size_t i = at; i < parts.size(); ++i) rest += (i > at ? "/" : "") + std::string(parts[i]);
      values.push_back(url_decode(rest));
      return node.rest.get();
    }
    return nullptr;
  };
  const auto* node = find(find, *root_, 0);
  if (node == nullptr) return out;

  for (const auto* entry : node->entries) {
    out.allowed.push_back(entry->route.method);
    const bool head_by_get = method == Method::head && entry->route.method == Method::get;
    if (entry->route.method == method || (head_by_get && out.entry == nullptr)) out.entry = entry;
  }
  if (out.entry == nullptr) return out;

  std::size_t next = 0;
  for (const auto part : split(std::string_view(out.entry->route.path).substr(1), '/')) {
    if (!part.starts_with('{')) continue;
    const auto name = part.substr(1, part.size() - (part.ends_with("*}") ? 3 : 2));
    out.params.emplace_back(std::string(name), values[next++]);
  }
  return out;
}

}  // namespace lathe::http
