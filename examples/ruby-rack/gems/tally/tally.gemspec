Gem::Specification.new do |s|
  s.name = "tally"
  s.version = "1.0.0"
  s.summary = "Counts the words of a text, in C"
  s.authors = ["Ingot"]
  s.license = "Apache-2.0"
  s.homepage = "https://example.com/tally"
  s.files = ["lib/tally.rb", "ext/tally/tally.c", "ext/tally/extconf.rb"]
  s.extensions = ["ext/tally/extconf.rb"]
end
