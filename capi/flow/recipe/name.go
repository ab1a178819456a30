package recipe

import (
	"math/rand/v2"
	"strings"
)

var (
	adjectives = strings.Fields(`active agile amber ancient bold brave bright brisk busy calm careful cheerful chipper clever
		cosmic curious daring eager earnest fair fancy fearless friendly gentle glad golden grateful happy hidden honest
		humble intelligent jolly keen kind lively lucky mellow mighty noble patient polite proud quick quiet rapid relaxed
		responsible shiny silly silver smart sunny swift terrific thankful tidy turbulent vivid wacky warm wise zany`)
	nouns = strings.Fields(`antelope badger bat bear beaver bison bonobo buffalo camel cat cheetah civet cougar crane deer
		dingo dolphin dugong eagle echidna eland elephant emu falcon ferret finch fox gazelle gecko giraffe gnu goat heron
		hyena ibex impala jackal jaguar kangaroo koala kudu lemur leopard lion llama lynx mandrill meerkat mongoose moose
		numbat ocelot okapi oryx otter panda parrot pangolin puma quokka rabbit raven reedbuck seal serval sparrow squirrel
		swan tapir tiger topi turtle wallaby warthog wombat zebra`)
)

// RandomHost makes the host of a random route: <app>-<adjective>-<noun>-<two letters>.
func RandomHost(app string) string {
	letter := func() string { return string(rune('a' + rand.IntN(26))) }
	return app + "-" + adjectives[rand.IntN(len(adjectives))] + "-" + nouns[rand.IntN(len(nouns))] + "-" + letter() + letter()
}
