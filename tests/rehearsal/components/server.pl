# Answers HTTP on port 8000 from a few processes, writes a JSON line for each request, and goes on for a while after it
# was asked to end: until then endpoints have noticed. Its variables are in tests/rehearsal/failures/README.md.
use POSIX 'strftime';

my $listening = IO::Socket::INET->new(LocalPort => 8000, Listen => 512, ReuseAddr => 1) or die "no port: $!";
my $is_cold = $ENV{COLD} && -e '/started';
if ($ENV{COLD}) { open my $f, '>>', '/started' }
ask('lock', $ENV{MIGRATES}) if $ENV{MIGRATES};

# A connection of the pool, where there is one left.
sub pooled {
    my $s = connected() or return;
    print $s "open $ENV{CONNECTIONS}\n"; my $answer = <$s> // '';
    $answer =~ /ok/ ? $s : undef
}

# What one request is answered: status, body, more header lines.
my $pool;
sub answer {
    my ($head, $path, $length) = @_;
    my $has = sub { $_[0] && $head =~ /^$_[0]: *(\S+)/im ? $1 : undef };
    return (404, '', '') if $path eq '/missing';
    return (500, '', '') if $ENV{FAILS} && rand() < $ENV{FAILS};
    return (413, '', '') if $ENV{MAX_BODY} && $length > $ENV{MAX_BODY};
    return (301, '', "Location: https://$path\r\n") if $ENV{SCHEME_HEADER} && !$has->($ENV{SCHEME_HEADER});
    return (403, '', '') if $ENV{CLIENT_HEADER} && !$has->($ENV{CLIENT_HEADER});
    my $cookie = '';
    if ($ENV{SESSIONS}) {
        my ($session) = $head =~ /^cookie:.*session=(\w+)/im;
        return (401, '', '') if $session && $session ne $ENV{SESSIONS};
        $cookie = "Set-Cookie: session=$ENV{SESSIONS}\r\n";
    }
    if ($ENV{CONNECTIONS}) { return (500, '', '') unless $pool ||= pooled() }
    if ($ENV{FORMAT}) {
        if ($length) { ask('write', $ENV{FORMAT}) }
        else { return (500, '', '') if ask('read') > $ENV{FORMAT} }
    }
    return (200, "{\"path\":\"$path\"}", $cookie) unless $path eq '/greeting';
    my $taken = strftime('%Y-%m-%dT%H:%M', localtime 1_000_000_000);
    my $total = '1234' . ($ENV{DECIMAL} // '.') . '50';
    (200, "{\"greeting\":\"$ENV{GREETING}\",\"taken\":\"$taken\",\"total\":\"$total\"}", $cookie)
}

my $served = 0;
sub serve {
    my ($c) = @_;
    my ($head, $buffer) = ('', '');
    while ($head !~ /\r\n\r\n/) { sysread($c, $buffer, 65536) or last; $head .= $buffer }
    ($head, my $body) = split /\r\n\r\n/, $head, 2; $body //= '';
    my ($length) = $head =~ /^content-length: *(\d+)/im; $length ||= 0;
    while (length $body < $length) { sysread($c, $buffer, 65536) or last; $body .= $buffer }
    my ($id) = $head =~ /^x-request-id: *(\S+)/im; $id //= '';
    my ($path) = $head =~ m{^\S+ (\S+)} or return close $c;
    my ($status, $text, $more) = answer($head, $path, $length);
    pause($ENV{COLD}) if $is_cold;
    $more .= "Connection: close\r\n" unless $ENV{IDLE};
    print $c "HTTP/1.1 $status OK\r\nContent-Type: application/json\r\nContent-Length: " . length($text) . "\r\n$more\r\n$text";
    print "{\"request_id\":\"$id\",\"status\":$status}\n" unless $ENV{QUIET};
    # Whatever is sent on a connection that has been idle for longer is answered with its end.
    pause($ENV{IDLE}) if $ENV{IDLE};
    shutdown $c, 1; close $c;
    kill 'USR1', getppid if $ENV{RECYCLE} && $id && ++$served >= $ENV{RECYCLE};
}

my @kids;
for (1 .. 6) {
    my $pid = fork; if ($pid) { push @kids, $pid; next }
    srand;
    $SIG{TERM} = 'IGNORE'; $SIG{PIPE} = 'IGNORE';
    $pool = pooled() if $ENV{CONNECTIONS};
    while (1) { my $c = $listening->accept or next; serve($c) }
}
$SIG{USR1} = sub { kill 'KILL', @kids; exit 1 };
$SIG{TERM} = sub { pause($ENV{LINGERS} // 3); kill 'KILL', @kids; exit 0 };
sleep 1 while 1;
