#include <string>

std::string Greet(const std::string& name) { return "hello " + name; }
