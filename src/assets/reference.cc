#include "assets/reference.h"

#include <vector>

#include "assets/tree.h"
#include "base/text.h"

namespace lathe::assets {
namespace {

bool eat(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

/// Without "." and ".." and empty parts, which no path inside a store needs.
Result<std::string> inner_path(std::string_view path) {
  std::string out;
  for (const auto part : split(path, '/')) {
    if (part.empty() || part == ".") continue;
    if (part == ".." || part.find('\0') != std::string_view::npos)
      return fail(Code::invalid, "the path \"" + printable(path) + "\" leads outside its store");
    out += (out.empty() ? "" : "/") + std::string(part);
  }
  return out;
}

Result<Reference> nonsense(std::string_view text) {
  return fail(Code::invalid, "\"" + printable(text) +
                                 "\" is not a reference: give azureml:NAME:VERSION, azureml:NAME@latest, "
                                 "azureml://datastores/workspaceblobstore/paths/PATH, an http(s) URL or a path");
}

/// After azureml:/ and azureml:// : the segments of the long forms.
Result<Reference> long_form(std::string_view rest, std::string_view whole) {
  std::vector<std::string> parts;
  for (const auto part : split(rest, '/'))
    if (!part.empty()) parts.emplace_back(part);
  const auto from = [&](std::size_t at) {
    std::string out;
    for (std::size_t i = at; i < parts.size(); ++i) out += (i == at ? "" : "/") + parts[i];
    return out;
  };
  if (parts.size() >= 2 && parts[0] == "registries") return InRegistry{parts[1], from(2)};
  for (std::size_t i = 0; i + 2 < parts.size(); ++i) {
    if (parts[i] == "datastores" && parts[i + 2] == "paths") {
      LATHE_TRY(auto path, inner_path(from(i + 3)));
      return InDatastore{parts[i + 1], std::move(path)};
    }
    if (parts[i] == "jobs" && parts[i + 2] == "outputs") {
      if (i + 4 >= parts.size() || parts[i + 4] != "paths") return nonsense(whole);
      LATHE_TRY(auto path, inner_path(from(i + 5)));
      if (parts[i + 3] == "artifacts") return OfRun{parts[i + 1], std::move(path)};
      // A named output lies in the datastore, below the job's name.
      LATHE_TRY(const auto output, inner_path("azureml/" + parts[i + 1] + "/" + parts[i + 3]));
      return InDatastore{"workspaceblobstore", output + (path.empty() ? "" : "/" + path)};
    }
  }
  const auto size = parts.size();
  if (size >= 3 && parts[size - 2] == "versions") return NamedVersion{parts[size - 3], parts[size - 1]};
  if (size >= 3 && parts[size - 2] == "labels") return NamedLabel{parts[size - 3], parts[size - 1]};
  return nonsense(whole);
}

Result<Reference> short_form(std::string_view rest, std::string_view whole) {
  if (rest.empty()) return nonsense(whole);
  if (const auto at = rest.rfind('@'); at != std::string_view::npos) {
    if (at == 0 || at + 1 == rest.size()) return nonsense(whole);
    return NamedLabel{std::string(rest.substr(0, at)), std::string(rest.substr(at + 1))};
  }
  if (const auto colon = rest.rfind(':'); colon != std::string_view::npos) {
    if (colon == 0 || colon + 1 == rest.size()) return nonsense(whole);
    return NamedVersion{std::string(rest.substr(0, colon)), std::string(rest.substr(colon + 1))};
  }
  return NamedLabel{std::string(rest), "latest"};
}

}  // namespace

Result<Reference> parse_reference(std::string_view text) {
  auto rest = trim(text);
  if (eat(rest, "azureml:")) {
    if (rest.starts_with('/')) return long_form(rest, text);
    return short_form(rest, text);
  }
  if (eat(rest, "runs:/")) {
    while (eat(rest, "/")) continue;
    const auto slash = rest.find('/');
    if (rest.empty() || slash == 0) return nonsense(text);
    LATHE_TRY(auto path, inner_path(slash == std::string_view::npos ? "" : rest.substr(slash + 1)));
    return OfRun{std::string(rest.substr(0, slash)), std::move(path)};
  }
  if (eat(rest, "tree:")) {
    const auto slash = rest.find('/');
    const auto digest = rest.substr(0, slash);
    if (!is_digest(digest)) return nonsense(text);
    LATHE_TRY(auto path, inner_path(slash == std::string_view::npos ? "" : rest.substr(slash + 1)));
    return Uploaded{std::string(digest), std::move(path)};
  }
  if (rest.starts_with("http://") || rest.starts_with("https://")) return Url{std::string(rest)};
  if (eat(rest, "file://")) {
    if (!rest.starts_with('/')) return nonsense(text);
    return OnServer{url_decode(rest)};
  }
  if (rest.starts_with('/')) return OnServer{std::string(rest)};
  for (const char* scheme : {"wasb://", "wasbs://", "abfs://", "abfss://", "adl://", "s3://", "gs://", "git+"})
    if (rest.starts_with(scheme))
      return fail(Code::invalid, "\"" + printable(rest) + "\" is in a store that Lathe does not read (" +
                                     std::string(scheme) + "): copy it here and register the folder");
  if (rest.find("://") != std::string_view::npos || rest.empty()) return nonsense(text);
  return fail(Code::invalid, "\"" + printable(rest) + "\" is relative, and the server does not know to which folder: "
                                                      "the command line uploads it, other clients give tree:DIGEST");
}

}  // namespace lathe::assets
