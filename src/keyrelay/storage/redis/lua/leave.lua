-- Leave in an orderly way: everything used has been counted, nothing is set aside any more.
-- ARGV: member, epoch. Answers 1.

if redis.call('HGET', KEYS[1], 'epoch') == ARGV[2] then
  drop(base_of(KEYS[1], ARGV[2]), ARGV[1], false, now_us())
end
return 1
