# The plan's `work.ledger`, and its `timetable.ledger`: what it prints is its only argument.
my $s = connected() or die "nothing shared at $ENV{SHARED}";
print $s "$ARGV[0]\n"; print while <$s>;
