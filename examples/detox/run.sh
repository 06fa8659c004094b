#!/bin/sh
# One attempt of one test file, on the device that the agent chose.
set -eu
package=com.example.shop
# The app is there: the agent installed it. Detox wants its own test package beside it, once for each device.
if ! adb -s "$QGJOB_UDID" shell pm list instrumentation | grep -q "$package"; then
  adb -s "$QGJOB_UDID" install -r -t "${DETOX_TEST_APK:-build/app-androidTest.apk}"
fi
# --reuse: without it Detox installs both for each file. Retries are the job's, so Detox makes none.
exec npx detox test --configuration attached --reuse --retries 0 \
  --artifacts-location "$QGJOB_OUTPUT_DIR/detox" --record-logs failing --take-screenshots failing "$1"
