#include "environments/imports.h"

#include <gtest/gtest.h>

#include <map>

namespace lathe::environments {
namespace {

std::string found(std::string_view source) {
  std::string out;
  for (const auto& import : imports_of(source)) out += import.module + ":" + std::to_string(import.line) + " ";
  return out;
}

TEST(Imports, AreThoseThatCertainlyRun) {
  EXPECT_EQ(found("import os, numpy as np\nfrom sklearn.tree import (A,\n  B)\nimport a.b; import c\n"),
            "os:1 numpy:1 sklearn.tree:2 a.b:4 c:4 ");
  EXPECT_EQ(found("try:\n  import cupy\nexcept ImportError:\n  cupy = None\n"), "");
  EXPECT_EQ(found("def f():\n  import late\nif x:\n  import y\n"), "");
  EXPECT_EQ(found("if __name__ == \"__main__\":\n  import late\n  main()\n"), "late:2 ");
  EXPECT_EQ(found("from . import x\nfrom .y import z\nfrom __future__ import annotations\n"), "__future__:3 ");
}

TEST(Imports, AreNotFoundInTextsAndComments) {
  EXPECT_EQ(found("\"\"\"\nimport a\n\"\"\"\n# import b\ns = 'import c'\nx = '''\nimport d\n'''\nimport e\n"), "e:9 ");
  EXPECT_EQ(found("x = \"\\\"\"\nimport e\n"), "e:2 ");
  EXPECT_EQ(found("f(\nimportant,\nimport_x)\nimporter = 1\n"), "");
  EXPECT_EQ(found("from a \\\n  import b\r\nimport c\r\n"), "a:1 c:3 ");
}

class Needs : public ::testing::Test {
 protected:
  std::string of(const std::string& command) {
    CodeFolder code;
    for (const auto& [path, text] : files) code.files.insert(path);
    code.read = [this](const std::string& path) { return std::optional<std::string>(files.at(path)); };
    Modules modules;
    modules.names = {"os", "numpy"};
    return missing_of(needs_of(command, code), modules);
  }
  std::map<std::string, std::string> files;
};

TEST_F(Needs, FollowTheCodesOwnModules) {
  files = {{"train.py", "import os\nimport numpy\nimport lib.deep\nimport cv2\n"},
           {"lib/__init__.py", ""},
           {"lib/deep.py", "import foo\nimport lathe\nimport mlflow\n"},
           {"other.py", "import never\n"}};
  EXPECT_EQ(of("python train.py --x 1"), "cv2 (train.py:4), foo (lib/deep.py:1)");
  EXPECT_EQ(of("cd . && python -m lib.deep"), "foo (lib/deep.py:1)");
  EXPECT_EQ(of("echo hello"), "");
}

TEST_F(Needs, AreNotKnownWhenTheCommandBringsItsOwn) {
  files = {{"train.py", "import cv2\n"}};
  EXPECT_EQ(of("pip install opencv-python && python train.py"), "");
  EXPECT_EQ(of("python train.py"), "cv2 (train.py:1)");
}

TEST_F(Needs, EndWhereModulesImportEachOther) {
  files = {{"a.py", "import b\n"}, {"b.py", "import a\nimport gone\n"}};
  EXPECT_EQ(of("python a.py"), "gone (b.py:2)");
}

}  // namespace
}  // namespace lathe::environments
