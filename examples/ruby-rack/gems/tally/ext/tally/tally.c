#include <ctype.h>
#include <ruby.h>

/* Tally.words(text) is how many words the text has. */
static VALUE words(VALUE self, VALUE text)
{
	long n = 0, i, in = 0;

	StringValue(text);
	for (i = 0; i < RSTRING_LEN(text); i++) {
		int space = isspace((unsigned char)RSTRING_PTR(text)[i]) != 0;

		n += !space && !in;
		in = !space;
	}
	return LONG2NUM(n);
}

void Init_tally(void)
{
	rb_define_singleton_method(rb_define_module("Tally"), "words", words, 1);
}
