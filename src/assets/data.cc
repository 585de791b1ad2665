#include <sys/stat.h>

#include <system_error>

#include "assets/assets.h"
#include "base/text.h"

namespace lathe::assets {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kStore = "workspaceblobstore";

bool is_below(const fs::path& path, const fs::path& folder) {
  const auto [end, rest] = std::mismatch(folder.begin(), folder.end(), path.begin(), path.end());
  return end == folder.end();
}

/// Whether every account of this machine may read it: all folders on the way can be entered.
bool world_readable(const fs::path& path) {
  struct stat found {};
  fs::path way;
  for (const auto& part : path) {
    way /= part;
    if (::lstat(way.c_str(), &found) != 0) return false;
    const bool last = way == path;
    const mode_t needed = S_ISDIR(found.st_mode) ? (last ? S_IROTH | S_IXOTH : S_IXOTH) : S_IROTH;
    if ((found.st_mode & needed) != needed) return false;
  }
  return true;
}

bool is_type(const std::string& type) { return type == "uri_file" || type == "uri_folder" || type == "mltable"; }

Result<void> check_type(const std::string& type, const Resolved& found) {
  const bool is_file = found.type == "uri_file";
  if (type == "uri_file" && !is_file)
    return fail(Code::invalid, "type: is uri_file, but the path is a folder: use uri_folder");
  if ((type == "uri_folder" || type == "mltable") && is_file)
    return fail(Code::invalid, "type: is " + type + ", but the path is a file: use uri_file, or give its folder");
  if (type == "mltable" && !found.local.empty() && !fs::exists(found.local / "MLTable"))
    return fail(Code::invalid, "path: an mltable's folder holds a file named MLTable, and this one does not");
  return {};
}

}  // namespace

Result<std::unique_ptr<Assets>> Assets::open(db::Database& db, const fs::path& data) {
  std::error_code error;
  auto real = fs::canonical(data, error);
  if (error) return fail(Code::not_found, "cannot open the data folder " + data.string() + ": " + error.message());
  std::unique_ptr<Assets> out(new Assets(db, std::move(real)));
  LATHE_TRY(out->blobs_, BlobStore::open(out->data_));
  LATHE_TRY(out->digests_, DigestCache::open(out->data_ / "digests.db"));
  return out;
}

Result<fs::path> Assets::datastore_path(const std::string& store, const std::string& path) const {
  if (store != kStore) return fail(Code::not_found, unknown_name("datastore", store, {std::string(kStore)}));
  fs::path out = data_ / "datastore";
  for (const auto part : split(path, '/')) {
    if (part.empty() || part == ".") continue;
    if (part == "..") return fail(Code::invalid, "the path \"" + path + "\" leads outside the datastore");
    out /= part;
  }
  return out;
}

Result<fs::path> Assets::allowed_path(const std::string& path, const http::Principal& who, bool local) const {
  if (!local)
    return fail(Code::forbidden, "\"" + path + "\" is a path of another machine: upload it (the command line does)");
  if (path.find('\0') != std::string::npos) return fail(Code::invalid, "a path must not hold a NUL character");
  std::error_code error;
  const auto real = fs::canonical(path, error);
  // One answer for "is not there" and "may not be seen": nobody learns what other people's folders hold.
  const bool administrator = who.is_administrator();
  if (error || (!administrator && !world_readable(real)))
    return fail(administrator ? Code::not_found : Code::forbidden,
                administrator ? "the server finds nothing at \"" + path + "\": " + error.message()
                              : "the server may not take \"" + path +
                                    "\" for you: it is not there, or not readable by everybody; upload it instead");
  if (is_below(real, data_) || is_below(data_, real))
    return fail(Code::forbidden, "\"" + path + "\" holds, or is in, the server's own data folder");
  for (const char* system : {"/proc", "/sys", "/dev"})
    if (is_below(real, system)) return fail(Code::forbidden, "\"" + path + "\" is not data but a part of the system");
  return real;
}

Result<Resolved> Assets::resolve_content(const Reference& reference, const http::Principal& who, bool local) {
  Resolved out;
  Reach reach = Reach::everything;
  if (const auto* url = std::get_if<Url>(&reference)) {
    out.type = "uri_file";
    out.url = url->url;
    return out;
  }
  if (const auto* uploaded = std::get_if<Uploaded>(&reference)) {
    LATHE_TRY(const auto view, blobs_->view(uploaded->digest));
    out.local = uploaded->path.empty() ? view : view / uploaded->path;
    std::error_code ignored;
    if (!fs::exists(out.local, ignored))
      return fail(Code::not_found, "the uploaded folder " + uploaded->digest + " holds no \"" + uploaded->path + "\"");
    if (uploaded->path.empty()) {  // known without looking
      LATHE_TRY(const auto tree, blobs_->tree(uploaded->digest));
      out.type = "uri_folder";
      out.digest = uploaded->digest;
      out.size_bytes = tree.size_bytes();
      out.files = static_cast<std::int64_t>(tree.files.size());
      return out;
    }
  } else if (const auto* stored = std::get_if<InDatastore>(&reference)) {
    LATHE_TRY(out.local, datastore_path(stored->store, stored->path));
    out.private_to_server = true;
    std::error_code ignored;
    if (!fs::exists(out.local, ignored))
      return fail(Code::not_found, "the datastore \"" + stored->store + "\" holds no \"" + stored->path + "\"");
    // Jobs write here: a link that one left must not lead to other people's files.
    reach = Reach::no_links;
  } else if (const auto* path = std::get_if<OnServer>(&reference)) {
    LATHE_TRY(out.local, allowed_path(path->path, who, local));
    if (!who.is_administrator()) reach = Reach::world_readable;
  } else if (std::holds_alternative<InRegistry>(reference)) {
    return fail(Code::invalid, "this server has no access to Azure's registries: copy the data here and register it");
  } else {
    return fail(Code::invalid, "this reference does not name data");
  }
  if (fs::is_directory(out.local)) {
    LATHE_TRY(const auto scan, scan_data(out.local, *digests_, reach));
    out.type = "uri_folder";
    out.digest = scan.tree.digest();
    out.size_bytes = scan.tree.size_bytes();
    out.files = static_cast<std::int64_t>(scan.tree.files.size());
  } else {
    LATHE_TRY(const auto known, digests_->digest_of(out.local, false));
    out.type = "uri_file";
    out.digest = known.sha256;
    out.size_bytes = known.size;
    out.files = 1;
  }
  return out;
}

Result<Resolved> Assets::resolve_asset(Asset asset, const http::Principal& who) {
  LATHE_TRY(const auto reference, parse_reference(asset.path));
  // The right to a path was checked when it was registered; since then everybody may use the asset.
  http::Principal owner = who;
  owner.role = http::Role::administrator;
  owner.run.reset();
  auto found = resolve_content(reference, owner, true);
  if (!found) return fail_in("data \"" + asset.name + ":" + asset.version + "\"", found.error());
  // Registered paths are real ones: a link that somebody put in the way since then leads elsewhere.
  if (std::holds_alternative<OnServer>(reference) && found->local != asset.path)
    return fail(Code::conflict, "data \"" + asset.name + ":" + asset.version + "\": a link on the way to " + asset.path +
                                    " leads elsewhere since it was registered; register it again");
  found->name = asset.name;
  found->version = asset.version;
  found->type = asset.type;
  if (asset.digest && found->digest && *asset.digest != *found->digest)
    found->note = "data \"" + asset.name + ":" + asset.version + "\" changed on disk since it was registered (" + asset.path +
                  "): register it again to give it a version";
  return found;
}

Result<Resolved> Assets::resolve(const std::string& text, const std::string& wanted_type, const http::Principal& who,
                                 bool local) {
  LATHE_TRY(const auto reference, parse_reference(text));
  Resolved out;
  if (const auto* named = std::get_if<NamedVersion>(&reference)) {
    LATHE_TRY(auto asset, db_.read([&](db::Connection& c) { return find_asset(c, Kind::data, named->name, named->version); }));
    LATHE_TRY(out, resolve_asset(std::move(asset), who));
  } else if (const auto* label = std::get_if<NamedLabel>(&reference)) {
    LATHE_TRY(auto asset,
              db_.read([&](db::Connection& c) { return find_asset_by_label(c, Kind::data, label->name, label->label); }));
    LATHE_TRY(out, resolve_asset(std::move(asset), who));
  } else {
    LATHE_TRY(out, resolve_content(reference, who, local));
  }
  if (is_type(wanted_type)) {
    LATHE_CHECK(check_type(wanted_type, out));
    out.type = wanted_type;
  }
  return out;
}

Result<Asset> Assets::create_data(const json::Object& document, const http::Principal& who, bool local, bool strict) {
  json::Report report;
  LATHE_CHECK(check_fields(document, {"name", "version", "type", "path", "description", "tags"},
                           {{"properties", "Lathe keeps tags, not properties"},
                            {"datastore", "the path names where the data is"},
                            {"auto_delete_setting", "nothing is deleted by itself"},
                            {"skip_validation", "everything is checked"}},
                           report));
  Asset asset;
  LATHE_TRY(asset.name, json::need_string(document, "name"));
  LATHE_CHECK(check_name(asset.name));
  LATHE_TRY(auto path, json::need_string(document, "path"));
  if (const auto* version = json::find(document, "version")) {
    asset.version = version->is_string() ? std::string(json::view(version->get_string())) : json::print(*version);
    LATHE_CHECK(check_version(asset.version));
  }
  LATHE_TRY(const auto type, json::get_string(document, "type"));
  if (type && !is_type(*type))
    return fail(Code::invalid, "type: must be uri_file, uri_folder or mltable, not \"" + printable(*type) + "\"");
  LATHE_TRY(const auto description, json::get_string(document, "description"));
  asset.description = description.value_or("");
  LATHE_TRY(asset.tags, read_tags(document));

  auto reference = parse_reference(path);
  if (!reference) return fail_in("path", reference.error());
  if (std::holds_alternative<NamedVersion>(*reference) || std::holds_alternative<NamedLabel>(*reference) ||
      std::holds_alternative<OfRun>(*reference))
    return fail(Code::invalid, "path: must be a folder, a file, a datastore's path or a URL");
  auto found = resolve_content(*reference, who, local);
  if (!found) return fail_in("path", found.error());
  if (std::holds_alternative<OnServer>(*reference)) path = found->local.string();
  asset.type = type.value_or(found->type);
  LATHE_CHECK(check_type(asset.type, *found));
  asset.path = std::move(path);
  asset.digest = found->digest;
  asset.size_bytes = found->size_bytes;
  asset.files = found->files;
  asset.creation_context.created_by = who.user;
  LATHE_CHECK(json::refuse_if_strict(report, strict));
  LATHE_TRY(auto kept, db_.write([&](db::Connection& c) { return insert_asset(c, Kind::data, asset); }));
  if (!report.empty()) kept.report = std::move(report);
  return kept;
}

}  // namespace lathe::assets
