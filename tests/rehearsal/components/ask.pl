# Asks what both sides share one thing: tests/support/shared.py. Stands before the other programs.
use strict; use IO::Socket::INET; $| = 1;
chomp(my $host = `hostname`);
sub connected { IO::Socket::INET->new(PeerAddr => $ENV{SHARED}) }
sub ask {
    my $s = connected() or return '';
    print $s "@_\n"; my $answer = <$s>; chomp($answer //= ''); $answer
}
# A signal ends a sleep early.
sub pause { select undef, undef, undef, 0.05 for 1 .. $_[0] / 0.05 }
