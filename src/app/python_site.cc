#include "app/python_site.h"

#include <fcntl.h>

#include <future>

#include "app/job_resolvers.h"
#include "base/file.h"
#include "base/text.h"

namespace lathe::app {
namespace {

/// Where the image has its Python, as its processes see it. Errors: `invalid` — nowhere.
Result<std::string> python_in(const environments::Image& image, const std::string& words) {
  std::string path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  for (const auto& [name, value] : image.env)
    if (name == "PATH" && !value.empty()) path = value;
  for (const auto folder : split(path, ':')) {
    const auto at = std::filesystem::path("/") / folder / "python3";
    if (open_beneath(image.root, at.relative_path().string(), O_PATH | O_NOFOLLOW)) return at.string();
  }
  return fail(Code::invalid, words + " has no python3 in its PATH (" + path +
                                 "), and workers are Python: take an image that has it, or leave the image out to run in this machine's Python");
}

/// Its folder, built first where it has to be.
Result<std::filesystem::path> folder_of(environments::Environments& environments, const environments::Recipe& recipe,
                                        std::chrono::milliseconds limit) {
  if (auto folder = environments.ready(recipe.digest())) return std::move(*folder);
  using Built = Result<std::filesystem::path>;
  const auto built = std::make_shared<std::promise<Built>>();
  auto done = built->get_future();
  environments.build(recipe, [built](const Built& folder) { built->set_value(folder); });
  if (done.wait_for(limit) == std::future_status::ready) return done.get();
  return fail(Code::unavailable, environments.waiting_for(recipe.digest()) +
                                     "; deploy again when it is there (`lathe environment list-builds` tells)");
}

}  // namespace

serving::PythonSite python_site(auth::Auth& auth, assets::Assets& assets, assets::Models& models,
                                environments::Environments& environments, const jobs::Launcher& launcher,
                                const Config& config) {
  serving::PythonSite site;
  site.library = launcher.root() / ".lathe/python";
  site.isolation = config.text("isolation");
  site.network = config.text("isolation_network") == "host";
  site.account = [&auth](const std::string& user) -> Result<std::int64_t> {
    LATHE_TRY(const auto id, auth.user_id(user));
    const auto account = jobs::Launcher::account_of(id);
    return account ? std::int64_t{account->uid} : 0;
  };
  const auto resolvers = std::make_shared<jobs::Resolvers>(job_resolvers(assets, models, environments));
  site.code = [resolvers](const json::Value& code, const serving::Deployer& deployer) {
    return resolvers->code(code, {deployer.who, deployer.local});
  };
  site.environment = [resolvers, &environments, shim = (launcher.root() / ".lathe/lathe-shim").string()](
                         const json::Value& wanted, const serving::Deployer& deployer, json::Report& report,
                         std::chrono::milliseconds limit) -> Result<serving::PythonSite::Environment> {
    LATHE_TRY(auto chosen, resolvers->environment(wanted, {deployer.who, deployer.local}, false, report));
    serving::PythonSite::Environment out{{}, "/usr/bin/python3", std::nullopt, chosen.words, std::nullopt};
    if (!chosen.recipe) return out;
    out.digest = chosen.recipe->digest();
    LATHE_TRY(out.folder, folder_of(environments, *chosen.recipe, limit));
    LATHE_TRY(const auto image, environments::image_in(out.folder));
    if (!image) {
      out.interpreter = out.folder / "python/bin/python";
      return out;
    }
    LATHE_TRY(out.interpreter, python_in(*image, chosen.words));
    out.image = serving::PythonImage{image->root, {image->env.begin(), image->env.end()}, shim};
    return out;
  };
  return site;
}

}  // namespace lathe::app
