#include "app/python_site.h"

#include <future>

#include "app/job_resolvers.h"

namespace lathe::app {
namespace {

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
  site.environment = [resolvers, &environments](
                         const json::Value& wanted, const serving::Deployer& deployer, json::Report& report,
                         std::chrono::milliseconds limit) -> Result<serving::PythonSite::Environment> {
    LATHE_TRY(auto chosen, resolvers->environment(wanted, {deployer.who, deployer.local}, false, report));
    if (chosen.recipe && chosen.recipe->is_image()) {
      report.push_back({"environment.image", "substituted", "by the default environment: deployments do not run in images yet"});
      chosen = {"the default environment", std::nullopt, std::nullopt};
    }
    serving::PythonSite::Environment out{{}, chosen.words, std::nullopt};
    if (!chosen.recipe) return out;
    out.digest = chosen.recipe->digest();
    LATHE_TRY(out.folder, folder_of(environments, *chosen.recipe, limit));
    return out;
  };
  return site;
}

}  // namespace lathe::app
