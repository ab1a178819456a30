require "tally"

run(lambda do |env|
  text = case env["PATH_INFO"]
         when "/" then "Hello from Ruby, instance #{ENV["CF_INSTANCE_INDEX"]}\n"
         when "/words" then "#{Tally.words(Rack::Utils.unescape(env["QUERY_STRING"]))}\n"
         when "/version" then "#{RUBY_VERSION} #{ENV["RACK_ENV"]}\n"
         when "/health" then "ok\n"
         end
  text ? [200, { "content-type" => "text/plain" }, [text]] : [404, { "content-type" => "text/plain" }, ["not found\n"]]
end)
