// Reads questions as JSON, answers them with judge.js, and prints JSON: tests/demo/test_static.py compares with Python.
import {readFileSync} from "node:fs";
import {draftFactor, explain, judge, pixelValues, readMaps, reduce, toWorkingSize} from "../../abc_hf/demo/web/static/judge.js";
import {sides, why} from "../../abc_hf/demo/web/static/reasons.js";

const {settings, photos, maps} = JSON.parse(readFileSync(0, "utf8"));
const answers = {
  photos: photos.map(({file, width, height, jpeg}) => {
    const factor = jpeg ? draftFactor(width, height, settings.longest_edge) : 1;
    const small = toWorkingSize(reduce({width, height, data: readFileSync(file)}, factor), settings);
    const {data, dims} = pixelValues(small, settings);
    return {width: small.width, height: small.height, dims, data: Buffer.from(data.buffer).toString("base64")};
  }),
  maps: maps.map(({blur, attention, probabilities, kinds, certain_from}) => {
    const facts = readMaps(Float32Array.from(blur), Float32Array.from(attention), settings);
    const verdict = judge(probabilities, kinds, facts, {...settings, certain_from});
    const figures = {...verdict, between: verdict.certain ? null : verdict.between, probabilities};
    const rows = {why: why(figures, facts, settings), sides: sides(figures, facts, settings)};
    return {facts, verdict, reason: explain(verdict, facts, settings), ...rows};
  }),
};
console.log(JSON.stringify(answers));
