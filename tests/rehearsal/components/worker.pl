# Takes jobs, and ends when it is asked to and has nothing in hand. Its variables are in
# tests/rehearsal/failures/README.md.
my $on = 1; $SIG{TERM} = sub { $on = 0 };
while ($on) {
    my ($id, $class, $seconds, $times) = split ' ', ask('take', $host, $ENV{VISIBILITY} // '-', $ENV{TAKES} // '-');
    if (!$seconds) { pause(0.1); next }
    if ($ENV{KNOWS} && " $ENV{KNOWS} " !~ / \Q$class\E /) {
        ask($ENV{GIVES_UP} && $times >= $ENV{GIVES_UP} ? 'dead' : 'failed', $id, $host);
        pause(0.2); next
    }
    ask('effect', $id, $host) if $ENV{FIRST};
    ask('delete', $id) if $ENV{EARLY};
    pause($seconds > ($ENV{TAKES_AT_LEAST} // 0) ? $seconds : $ENV{TAKES_AT_LEAST});
    ask($ENV{ONCE} ? 'once' : 'effect', $id, $host) unless $ENV{FIRST};
    ask('delete', $id);
}
# The call that receives was under way when the end was asked for: what the queue gave out for it, nobody has.
for (1 .. ($ENV{FORGETS} ? 200 : 0)) {
    my ($id) = split ' ', ask('take', $host, $ENV{VISIBILITY} // '-', $ENV{TAKES} // '-');
    last if $id && $id ne '-';
    pause(0.02);
}
