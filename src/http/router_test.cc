#include <gtest/gtest.h>

#include "http/http.h"

namespace lathe::http {
namespace {

struct RouterTest : ::testing::Test {
  Router router;
  void add(Method method, const std::string& path) {
    Route route;
    route.id = path;
    route.method = method;
    route.path = path;
    router.add(std::move(route), [](Call&) -> Result<Response> { return Response{}; });
  }
  std::string found(Method method, std::string_view path) {
    const auto match = router.match(method, path);
    return match.entry == nullptr ? "" : match.entry->route.path;
  }
};

TEST_F(RouterTest, LiteralsWinOverParametersAndBothOverTheRest) {
  add(Method::get, "/jobs/{name}");
  add(Method::get, "/jobs/new");
  add(Method::get, "/jobs/{name}/files/{path*}");
  EXPECT_EQ(found(Method::get, "/jobs/new"), "/jobs/new");
  EXPECT_EQ(found(Method::get, "/jobs/a"), "/jobs/{name}");
  EXPECT_EQ(found(Method::get, "/jobs/a/files/x/y.txt"), "/jobs/{name}/files/{path*}");
  EXPECT_EQ(found(Method::get, "/jobs/a/other"), "");
}

TEST_F(RouterTest, ParametersAreDecodedOnceAndNamedByTheRoute) {
  add(Method::get, "/models/{name}/versions/{version}");
  add(Method::post, "/models/{model}/versions/{number}");
  const auto match = router.match(Method::post, "/models/a%2Fb/versions/%2531");
  ASSERT_NE(match.entry, nullptr);
  EXPECT_EQ(match.params[0], (std::pair<std::string, std::string>{"model", "a/b"}));
  EXPECT_EQ(match.params[1].second, "%31");
}

TEST_F(RouterTest, AKnownPathWithAnotherMethodListsWhatItTakes) {
  add(Method::get, "/a");
  add(Method::put, "/a");
  const auto match = router.match(Method::post, "/a");
  EXPECT_EQ(match.entry, nullptr);
  EXPECT_EQ(match.allowed, (std::vector<Method>{Method::get, Method::put}));
  EXPECT_TRUE(router.match(Method::post, "/b").allowed.empty());
}

TEST_F(RouterTest, SlashesThatRepeatAreOneButForTheRest) {
  add(Method::get, "/jobs/{name}");
  add(Method::get, "/files/{path*}");
  EXPECT_EQ(found(Method::get, "//jobs//a"), "/jobs/{name}");
  EXPECT_EQ(router.match(Method::get, "//jobs//a").params[0].second, "a");
  EXPECT_EQ(router.match(Method::get, "/files//a//b").params[0].second, "/a//b");
  EXPECT_EQ(found(Method::get, "/jobs//"), "") << "a name is not empty";
}

TEST_F(RouterTest, HeadIsAnsweredByGet) {
  add(Method::get, "/a");
  EXPECT_EQ(found(Method::head, "/a"), "/a");
}

TEST_F(RouterTest, OpenApiListsRoutesWithTheirRights) {
  add(Method::get, "/jobs/{name}/files/{path*}");
  const auto document = openapi(router);
  EXPECT_EQ(document.at("paths").at("/jobs/{name}/files/{path}").at("get").at("x-right"), "read");
}

}  // namespace
}  // namespace lathe::http
