#include "cli/contexts.h"

#include <cstdlib>

#include "base/file.h"
#include "base/text.h"
#include "json/json.h"

namespace lathe::cli {

namespace fs = std::filesystem;

fs::path user_folder(const char* variable, const char* fallback) {
  const char* folder = std::getenv(variable);
  if (folder != nullptr && *folder != '\0') return fs::path(folder) / "lathe";
  const char* home = std::getenv("HOME");
  return fs::path(home != nullptr ? home : "/") / fallback / "lathe";
}

fs::path Contexts::file() {
  return user_folder("XDG_CONFIG_HOME", ".config") / "contexts.json";
}

Result<Contexts> Contexts::load() {
  Contexts out;
  auto text = read_file(file());
  if (!text && text.error().code == Code::not_found) return out;
  if (!text) return fail(text.error());
  const auto read = [&]() -> Result<Contexts> {
    LATHE_TRY(const auto document, json::parse_object(*text));
    LATHE_TRY(const auto in_use, json::get_string(document, "current"));
    out.current = in_use.value_or("");
    LATHE_TRY(const auto* stored, json::get_object(document, "contexts"));
    if (stored == nullptr) return out;
    for (const auto& member : *stored) {
      const auto* context = member.value().if_object();
      if (context == nullptr) return fail(Code::invalid, "a context must be an object");
      LATHE_TRY(auto url, json::need_string(*context, "url"));
      LATHE_TRY(auto token, json::get_string(*context, "token"));
      LATHE_TRY(auto user, json::get_string(*context, "user"));
      LATHE_TRY(auto pin, json::get_string(*context, "certificate_sha256"));
      out.all[std::string(member.key())] = {std::move(url), token.value_or(""), user.value_or(""), pin.value_or("")};
    }
    return out;
  };
  auto contexts = read();
  if (!contexts) return fail_in(file().string(), contexts.error());
  return contexts;
}

Result<void> Contexts::save() const {
  json::Object list;
  for (const auto& [name, context] : all) {
    json::Object one{{"url", context.url}, {"token", context.token}, {"user", context.user}};
    if (!context.certificate_sha256.empty()) one["certificate_sha256"] = context.certificate_sha256;
    list[name] = std::move(one);
  }
  LATHE_CHECK(make_folder(file().parent_path()));
  return write_file(file(), json::pretty(json::Object{{"current", current}, {"contexts", std::move(list)}}) + "\n",
                    0600);
}

Result<Context> Contexts::find(const std::string& name) const {
  const auto found = all.find(name);
  if (found != all.end()) return found->second;
  std::vector<std::string> names;
  for (const auto& entry : all) names.push_back(entry.first);
  return fail(Code::not_found, unknown_name("context", name, names));
}

}  // namespace lathe::cli
