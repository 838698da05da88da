# Runs every minute while there is a crontab; in these hours only, where HOURS names any. One that was taken out of it
# runs on to its end.
my $last = int(time / 60); $SIG{TERM} = sub { exit 0 };
my %hours = map { $_ => 1 } split /,/, $ENV{HOURS} // '';
# A machine that starts again has the crontab that it had.
unless (-e '/installed') { open my $f, '>>', $_ for '/installed', '/crontab' }
while (1) {
    pause(0.1); my $minute = int(time / 60);
    next if $minute == $last; $last = $minute;
    next unless -e '/crontab' && (!%hours || $hours{(localtime)[2]});
    ask('run', 'digest', "$host-$minute", 'started', $host); pause(1);
    ask('run', 'digest', "$host-$minute", 'succeeded', $host);
}
